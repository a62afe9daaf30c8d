"""PyWatt: ordinary FastAPI, Flask and Starlette applications as supervised modules of one product."""

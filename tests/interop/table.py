"""Which test shows what PyWatt does where the reference, or the earlier Python port, has a defect of its own.

The keys are those of the protocol's list of defects (D), its table of the earlier port (P) and its checklist for an orchestrator
of modules built on the Rust SDK (B). `test_table` holds the rows against the tests: each names a test that is there and
whose docstring names the row, and no such docstring goes unlisted.
"""

from __future__ import annotations

FILES = {
    "init_line": "tests/interop/test_init_line.py",
    "lines": "tests/interop/test_lines.py",
    "frames": "tests/interop/test_frames.py",
    "ways": "tests/interop/test_ways.py",
    "foreign": "tests/interop/test_foreign.py",
    "other_connections": "tests/interop/test_other_connections.py",
    "rust_modules": "plugins/pywatt_orchestrator/tests/interop/test_rust_modules.py",
    "rust_http": "plugins/pywatt_orchestrator/tests/interop/test_rust_http.py",
    "rust_registration": "plugins/pywatt_orchestrator/tests/interop/test_rust_registration.py",
}
"""The first six play the orchestrator, or another server, to a real module; the others the module to a real orchestrator."""

HIGHEST = {"D": 36, "P": 22, "B": 13}

SHOWN: dict[str, tuple[str, ...]] = {
    "B1": ("rust_modules::test_it_is_offered_what_it_needs_to_live_and_nothing_that_it_does_not_know",),
    "B2": (
        "rust_modules::test_it_is_offered_what_it_needs_to_live_and_nothing_that_it_does_not_know",
        "rust_modules::test_a_socket_that_it_is_offered_is_there_when_it_connects",
    ),
    "B3": ("rust_modules::test_it_is_offered_what_it_needs_to_live_and_nothing_that_it_does_not_know",),
    "B4": ("rust_modules::test_each_secret_is_followed_by_a_line_to_swallow",),
    "B5": ("rust_modules::test_it_is_ready_when_its_port_is_open_and_not_when_it_has_announced_itself",),
    "B6": (
        "rust_modules::test_it_is_offered_what_it_needs_to_live_and_nothing_that_it_does_not_know",
        "rust_modules::test_heartbeats_let_its_requests_through_and_their_results_come_bare",
    ),
    "B7": (
        "rust_modules::test_a_socket_that_it_is_offered_is_there_when_it_connects",
        "rust_modules::test_heartbeats_let_its_requests_through_and_their_results_come_bare",
    ),
    "B8": (
        "rust_http::test_more_requests_than_its_queue_holds_wait_here_and_are_all_answered",
        "rust_http::test_no_header_or_path_of_a_client_ends_it",
    ),
    "B9": ("rust_modules::test_every_answer_has_all_that_the_reference_requires",),
    "B10": ("rust_modules::test_every_answer_has_all_that_the_reference_requires",),
    "B11": ("rust_modules::test_heartbeats_let_its_requests_through_and_their_results_come_bare",),
    "B12": ("rust_modules::test_a_macro_module_is_served_and_ended_by_a_signal_since_it_ignores_everything_else",),
    "B13": (
        "rust_modules::test_a_request_to_it_is_delivered_and_ends_in_time_since_it_cannot_answer",
        "rust_http::test_no_header_or_path_of_a_client_ends_it",
    ),
    "D1": (
        "init_line::test_without_a_channel_it_announces_itself_and_lives",
        "frames::test_the_first_frame_is_no_identify_and_every_envelope_names_the_module",
        "frames::test_on_request_it_identifies_itself_on_each_connection_in_a_form_that_can_be_written",
        "rust_modules::test_it_is_offered_what_it_needs_to_live_and_nothing_that_it_does_not_know",
        "rust_modules::test_what_would_end_it_is_refused_by_name_before_it_is_started",
        "rust_modules::test_where_somebody_insists_its_end_is_told_with_its_own_reason",
        "rust_modules::test_an_identity_in_any_shape_is_welcome_on_a_channel_and_on_standard_output",
    ),
    "D2": (
        "lines::test_secrets_are_answered_in_any_order_between_other_lines",
        "lines::test_a_line_that_came_in_one_piece_with_the_init_line_is_not_lost",
        "lines::test_a_secret_can_be_asked_for_while_serving_and_many_at_once",
        "lines::test_http_is_answered_while_a_secret_is_waited_for",
        "rust_modules::test_each_secret_is_followed_by_a_line_to_swallow",
        "rust_modules::test_an_answer_that_a_competing_reader_lost_is_given_again_and_shows_in_no_log",
    ),
    "D3": ("lines::test_rotated_secrets_reach_subscribers_and_every_later_reader",),
    "D4": (
        "lines::test_the_acknowledgement_comes_after_the_new_value_and_waits_for_nothing",
        "lines::test_one_rotation_is_acknowledged_once",
    ),
    "D5": (
        "frames::test_it_sends_whenever_it_wants_to_and_not_after_a_frame_has_come_in",
        "frames::test_half_a_frame_holds_up_nothing_that_it_sends",
        "rust_modules::test_heartbeats_let_its_requests_through_and_their_results_come_bare",
    ),
    "D6": (
        "frames::test_every_form_of_a_frame_is_read_and_answered_in_an_envelope_of_format_1",
        "other_connections::test_registration_asks_in_envelopes_and_reads_bare_answers",
        "other_connections::test_a_response_with_somebody_elses_id_is_not_returned",
        "rust_modules::test_heartbeats_let_its_requests_through_and_their_results_come_bare",
        "rust_registration::test_a_whole_life_in_the_references_words",
    ),
    "D7": (
        "init_line::test_an_optional_socket_that_is_missing_holds_nothing_up_and_is_connected_when_it_appears",
        "init_line::test_a_required_socket_that_never_appears_ends_it_in_time_and_by_name",
        "init_line::test_a_required_socket_that_appears_while_it_starts_is_waited_for",
        "init_line::test_an_ipv6_channel_is_connected",
        "init_line::test_a_required_channel_that_refuses_ends_it_before_the_announce",
        "rust_modules::test_a_socket_that_it_is_offered_is_there_when_it_connects",
    ),
    "D8": (
        "init_line::test_a_token_is_not_sent_unasked_and_on_request_in_the_first_envelope_alone",
        "lines::test_no_log_line_ever_holds_a_secret_however_it_came",
        "rust_modules::test_an_answer_that_a_competing_reader_lost_is_given_again_and_shows_in_no_log",
    ),
    "D9": (
        "lines::test_of_overlapping_secrets_nothing_is_left",
        "other_connections::test_a_typed_secret_is_not_serialised_in_clear",
    ),
    "D10": (
        "frames::test_a_bare_value_is_the_response_of_another_module",
        "frames::test_handlers_fire_by_source_where_no_endpoint_is_told_and_also_right_after_the_announce",
        "rust_modules::test_heartbeats_let_its_requests_through_and_their_results_come_bare",
        "rust_modules::test_a_request_to_it_is_delivered_and_ends_in_time_since_it_cannot_answer",
        "rust_modules::test_between_two_of_them_a_request_that_nobody_can_answer_ends_with_its_target",
    ),
    "D11": (
        "frames::test_a_request_to_a_module_carries_what_a_target_needs_that_is_not_told_the_endpoint",
        "frames::test_a_rust_requester_gets_the_bare_value_by_a_message_back",
        "frames::test_handlers_fire_by_source_where_no_endpoint_is_told_and_also_right_after_the_announce",
        "rust_modules::test_a_request_to_it_is_delivered_and_ends_in_time_since_it_cannot_answer",
    ),
    "D12": (
        "frames::test_requests_on_a_channel_reach_the_application_and_are_answered_there",
        "rust_http::test_it_is_asked_over_standard_input_although_it_has_a_channel",
    ),
    "D13": (
        "lines::test_the_end_of_input_ends_it_even_in_the_middle_of_a_line",
        "lines::test_shutdown_lets_what_runs_finish_and_does_not_wait_for_the_end_of_input",
        "lines::test_shutdown_before_the_announce_ends_it_too",
        "frames::test_shutdown_on_a_channel_ends_it_with_0",
        "rust_modules::test_a_macro_module_is_served_and_ended_by_a_signal_since_it_ignores_everything_else",
    ),
    "D14": (
        "init_line::test_a_mistyped_init_line_is_refused_by_name_and_nothing_is_announced",
        "init_line::test_it_binds_before_it_announces_the_port_that_it_got",
        "init_line::test_it_serves_at_the_very_address_it_was_given",
        "init_line::test_it_serves_on_a_unix_socket_too",
        "rust_modules::test_it_is_offered_what_it_needs_to_live_and_nothing_that_it_does_not_know",
        "rust_modules::test_what_would_end_it_is_refused_by_name_before_it_is_started",
        "rust_modules::test_it_is_ready_when_its_port_is_open_and_not_when_it_has_announced_itself",
        "rust_modules::test_an_address_that_is_not_its_own_is_not_believed",
        "rust_modules::test_a_macro_module_that_was_given_a_socket_path_ends_and_is_reported",
    ),
    "D15": ("rust_modules::test_the_variable_that_changes_its_behaviour_is_set_on_request_alone",),
    "D16": (
        "lines::test_http_is_answered_while_a_secret_is_waited_for",
        "lines::test_a_request_that_is_no_http_costs_nothing_but_itself",
        "lines::test_more_requests_than_the_references_queue_holds_are_all_answered_and_side_by_side",
        "lines::test_what_arrives_while_it_still_starts_is_not_lost",
        "lines::test_no_line_that_cannot_be_read_ends_anything",
        "frames::test_a_request_on_a_channel_that_is_no_http_costs_nothing_but_itself",
        "frames::test_no_frame_that_cannot_be_read_ends_the_module_or_its_channel",
        "frames::test_a_lost_channel_is_made_again_and_costs_no_life",
        "frames::test_an_optional_channel_that_gives_up_costs_no_life_and_a_required_one_ends_it_by_name",
        "rust_modules::test_a_frame_of_four_gibibytes_costs_the_channel_and_the_process_that_cannot_live_without",
        "rust_modules::test_messages_go_on_when_the_module_is_started_again",
        "rust_http::test_more_requests_than_its_queue_holds_wait_here_and_are_all_answered",
        "rust_http::test_no_header_or_path_of_a_client_ends_it",
    ),
    "D17": ("lines::test_one_stack_serves_standard_input_the_port_and_a_module_without_a_port",),
    "D18": (
        "lines::test_the_response_on_standard_output_is_the_references_wrapper_to_the_byte",
        "rust_http::test_its_response_is_read_in_every_form",
    ),
    "D20": (
        "frames::test_no_frame_that_cannot_be_read_ends_the_module_or_its_channel",
        "other_connections::test_chunks_of_both_builds_are_read_with_either_checksum",
        "rust_modules::test_no_frame_that_cannot_be_read_costs_it_its_channel",
    ),
    "D21": (
        "lines::test_an_operations_result_that_names_nothing_is_the_only_operations",
        "lines::test_operations_results_are_told_apart_by_what_they_echo",
        "lines::test_an_operation_without_an_answer_times_out_and_its_late_result_is_nobody_elses",
        "lines::test_a_port_is_taken_from_its_own_answer_or_from_an_auto_assigned_one",
        "lines::test_answers_about_services_on_standard_input_are_used_one_question_at_a_time",
        "other_connections::test_an_answer_that_comes_too_late_is_never_taken_for_the_next_ones",
        "other_connections::test_a_registration_that_does_not_succeed_says_why",
        "other_connections::test_a_response_with_somebody_elses_id_is_not_returned",
        "other_connections::test_many_requests_share_a_connection_and_are_answered_in_any_order",
        "other_connections::test_a_response_that_came_too_late_does_not_answer_the_next_request",
        "rust_modules::test_every_answer_has_all_that_the_reference_requires",
        "rust_registration::test_answers_come_in_the_order_of_the_requests_each_exactly_once",
    ),
    "D22": (
        "lines::test_lines_of_many_threads_and_prints_do_not_mix",
        "rust_modules::test_lines_of_writers_that_know_nothing_of_each_other_cost_no_other_line",
    ),
    "D24": (
        "frames::test_a_frame_of_four_gibibytes_costs_the_connection_and_no_memory",
        "rust_modules::test_a_frame_of_four_gibibytes_costs_the_channel_and_the_process_that_cannot_live_without",
    ),
    "D25": (
        "init_line::test_tls_that_the_orchestrator_does_not_speak_fails_closed_and_is_ignored_only_on_request",
        "init_line::test_a_security_level_that_cannot_be_kept_is_an_error",
        "init_line::test_a_token_is_not_sent_unasked_and_on_request_in_the_first_envelope_alone",
        "rust_modules::test_it_is_offered_what_it_needs_to_live_and_nothing_that_it_does_not_know",
    ),
    "D27": (
        "lines::test_a_heartbeat_is_answered_on_standard_output_in_the_one_form",
        "rust_modules::test_who_never_acknowledges_on_standard_output_is_well",
    ),
    "D28": (
        "lines::test_silence_about_a_secret_ends_the_start_with_its_name",
        "lines::test_silence_about_a_secret_while_serving_is_an_error_of_that_request_alone",
        "frames::test_what_goes_wrong_is_an_err_that_a_rust_requester_can_read",
        "frames::test_no_answer_from_another_module_ends_the_request_in_time",
        "frames::test_an_err_is_an_error",
        "rust_modules::test_what_goes_wrong_with_its_requests_is_a_bare_err_at_once",
        "rust_modules::test_every_answer_has_all_that_the_reference_requires",
        "rust_modules::test_between_two_of_them_a_request_that_nobody_can_answer_ends_with_its_target",
    ),
    "D29": (
        "lines::test_a_wish_for_a_port_is_kept_and_a_refusal_is_final",
        "rust_modules::test_every_answer_has_all_that_the_reference_requires",
    ),
    "D31": (
        "init_line::test_the_init_line_is_read_in_this_spelling",
        "init_line::test_a_mistyped_init_line_is_refused_by_name_and_nothing_is_announced",
        "init_line::test_an_init_line_without_its_end_is_no_init_line",
        "init_line::test_an_orchestrator_that_never_speaks_is_not_waited_for_forever",
        "init_line::test_the_env_of_the_init_line_stays_data",
    ),
    "D32": (
        "frames::test_half_a_frame_holds_up_nothing_that_it_sends",
        "other_connections::test_an_answer_that_comes_too_late_is_never_taken_for_the_next_ones",
        "other_connections::test_half_an_answer_is_given_up_with_its_connection",
        "other_connections::test_a_response_that_came_too_late_does_not_answer_the_next_request",
    ),
    "D33": (
        "other_connections::test_a_failed_heartbeat_tells_its_reason_with_or_without_a_status",
        "rust_registration::test_a_heartbeat_that_fails_has_a_status_all_the_same",
    ),
    "D35": ("init_line::test_the_announce_is_one_tagged_line_without_nulls_from_which_the_reference_can_read",),
    "P1": (
        "init_line::test_the_init_line_is_read_in_this_spelling",
        "lines::test_messages_nested_below_their_name_are_read",
        "rust_modules::test_every_answer_has_all_that_the_reference_requires",
        "rust_modules::test_an_announce_in_an_earlier_spelling_is_read",
    ),
    "P2": (
        "init_line::test_the_announce_is_one_tagged_line_without_nulls_from_which_the_reference_can_read",
        "rust_modules::test_an_announce_in_an_earlier_spelling_is_read",
    ),
    "P3": (
        "init_line::test_the_init_line_is_read_in_this_spelling",
        "init_line::test_a_tagged_unix_path_is_where_it_serves",
        "rust_modules::test_an_announce_in_an_earlier_spelling_is_read",
    ),
    "P4": ("init_line::test_a_channel_as_host_and_port_is_connected",),
    "P5": (
        "init_line::test_the_init_line_is_read_in_this_spelling",
        "init_line::test_a_log_level_in_the_init_line_is_honoured",
    ),
    "P6": (
        "lines::test_answers_about_services_on_standard_input_are_used_one_question_at_a_time",
        "rust_modules::test_every_answer_has_all_that_the_reference_requires",
    ),
    "P7": (
        "frames::test_every_form_of_a_frame_is_read_and_answered_in_an_envelope_of_format_1",
        "frames::test_no_frame_that_cannot_be_read_ends_the_module_or_its_channel",
        "rust_modules::test_no_frame_that_cannot_be_read_costs_it_its_channel",
    ),
    "P9": (
        "lines::test_a_body_that_is_no_array_of_bytes_is_refused_by_name",
        "rust_http::test_a_response_that_cannot_be_read_is_a_failure_of_that_request_at_once",
    ),
    "P10": ("lines::test_an_operations_result_that_names_nothing_is_the_only_operations",),
    "P11": (
        "lines::test_no_line_that_cannot_be_read_ends_anything",
        "lines::test_a_port_is_taken_from_its_own_answer_or_from_an_auto_assigned_one",
        "rust_modules::test_every_answer_has_all_that_the_reference_requires",
    ),
    "P12": (
        "lines::test_no_line_that_cannot_be_read_ends_anything",
        "rust_modules::test_no_frame_that_cannot_be_read_costs_it_its_channel",
    ),
    "P13": (
        "other_connections::test_registration_reads_the_earlier_ports_answers_too",
        "rust_registration::test_the_earlier_port_is_answered_as_it_reads",
    ),
    "P14": (
        "lines::test_silence_about_a_secret_ends_the_start_with_its_name",
        "lines::test_a_secret_is_waited_for_as_long_as_by_the_reference",
    ),
    "P15": ("lines::test_a_heartbeat_is_answered_on_standard_output_in_the_one_form",),
    "P16": (
        "frames::test_the_first_frame_is_no_identify_and_every_envelope_names_the_module",
        "rust_modules::test_an_identity_in_any_shape_is_welcome_on_a_channel_and_on_standard_output",
    ),
    "P17": ("other_connections::test_a_boolean_secret_is_true_or_false_unless_lenience_is_asked_for",),
    "P18": (
        "lines::test_messages_nested_below_their_name_are_read",
        "rust_modules::test_an_identity_in_any_shape_is_welcome_on_a_channel_and_on_standard_output",
    ),
    "P19": ("other_connections::test_reconnecting_waits_as_the_reference_does",),
    "P20": ("other_connections::test_chunks_of_both_builds_are_read_with_either_checksum",),
    "P21": (
        "other_connections::test_any_status_of_sixteen_bits_is_read",
        "other_connections::test_no_status_is_sent_that_http_does_not_know",
        "rust_http::test_a_status_that_http_does_not_know_reaches_no_client",
    ),
    "P22": (
        "init_line::test_the_init_line_is_read_in_this_spelling",
        "rust_modules::test_it_is_offered_what_it_needs_to_live_and_nothing_that_it_does_not_know",
    ),
}

NOT_SHOWN: dict[str, str] = {
    "D19": "code of the reference that does not compile or that nothing calls: no peer ever sees it",
    "D23": "SQL for databases, which no peer reads",
    "D26": "binary envelopes are written on request alone: tests/protocol/test_bincode.py, test_encoded.py and the golden vectors",
    "D30": "the bookkeeping of transactions over an orchestrator's database, of which PyWatt has no client yet",
    "D34": "local policy, which no peer sees: tests/policies",
    "D36": "differences between the reference's documentation and its code",
    "P8": "the earlier port's writer cannot run at all",
}
"""Rows without a test among these, and why."""

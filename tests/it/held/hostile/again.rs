//! The tests of jobs, with each job's command run in a sandbox that stays.

macro_rules! again {
    ($way:ident: $($module:ident { $($test:ident)+ })+) => {
        mod $way {
            $($(
                #[test]
                fn $test() {
                    crate::sandbox::by(super::super::$way, crate::$module::$test);
                }
            )+)+
        }
    };
}

again! { by_exec:
    privilege {
        no_task_has_a_capability_and_every_task_is_confined
        set_id_programs_of_the_host_give_nothing
        nobody_else_can_be_become
        env_of_the_job_never_reaches_our_own_code
    }
    view {
        cannot_read_files_outside_the_root
        the_top_of_the_view_is_what_the_contract_says
        nothing_but_the_declared_places_can_be_written_to
        devices_are_an_allow_list_and_none_can_be_made
        only_the_sandbox_s_own_processes_are_seen
        init_tells_nothing_of_the_host
        no_kernel_knob_can_be_written_to
        sensitive_files_of_proc_are_masked_or_closed
        a_socket_outside_the_view_is_out_of_reach_and_a_mounted_one_is_given
        set_id_files_are_not_made_where_the_host_would_see_them
        host_name_hosts_and_users_are_made_up
        the_old_root_is_gone_and_no_descriptor_leads_out
    }
    kernel_surface {
        what_a_user_may_call_on_the_host_is_refused_inside
        what_root_may_call_on_the_host_is_refused_inside
        foreign_abis_are_closed
        nobody_types_into_a_terminal
        mknod_of_devices_and_odd_personalities_are_refused
        no_call_number_at_all_kills_or_reaches_a_forbidden_place
    }
    network {
        the_host_s_loopback_is_another_one
        there_is_no_way_out
        abstract_sockets_of_the_host_are_out_of_reach
        rare_families_and_raw_sockets_are_refused_with_every_network
        names_are_not_found_at_once
        two_sandboxes_share_neither_loopback_nor_abstract_sockets_nor_shared_memory
    }
    lifetime {
        the_deadline_holds_against_every_trick
        a_background_process_that_holds_stdout_delays_nothing
        all_that_was_written_before_the_end_is_kept
        a_program_that_kills_everything_kills_itself_and_no_one_else
        orphans_are_reaped_and_zombies_cost_nothing
        the_command_is_not_pid_1_and_has_a_session_of_its_own
    }
    limits {
        memory_is_one_limit_for_every_kind_of_memory
        a_child_s_oom_kill_shows_though_the_command_exits_with_0
        processes_and_threads_are_counted_together
        the_cpu_quota_holds_with_many_spinners
        output_beyond_the_cap_is_read_counted_and_dropped
        a_cap_within_a_utf8_sequence_keeps_the_bytes_as_they_are
        every_tmpfs_has_its_size
        open_files_end_with_emfile
    }
    planted {
        no_directory_to_start_in_leads_to_what_we_hold_open
    }
    honest {
        shells_have_pipes_jobs_traps_and_substitution
        python_has_threads_processes_files_tls_and_databases
        node_has_workers_children_files_and_crypto
        perl_awk_and_the_everyday_tools_work
        locale_and_time_zone_are_there
        sockets_within_the_sandbox_work
    }
}

#[test]
fn cpu_time_is_limited_over_all_processes_of_a_command() {
    if !crate::support::has_cgroups() {
        return crate::support::host_cannot("needs cgroups: else the limit is each process's");
    }
    let test = crate::limits::cpu_time_is_limited_over_all_processes_however_short_they_live;
    crate::sandbox::by(super::by_exec, test);
}

again! { in_terminal:
    view {
        cannot_read_files_outside_the_root
        nothing_but_the_declared_places_can_be_written_to
        init_tells_nothing_of_the_host
        sensitive_files_of_proc_are_masked_or_closed
    }
    privilege {
        nobody_else_can_be_become
    }
    kernel_surface {
        what_a_user_may_call_on_the_host_is_refused_inside
        what_root_may_call_on_the_host_is_refused_inside
        nobody_types_into_a_terminal
        mknod_of_devices_and_odd_personalities_are_refused
        no_call_number_at_all_kills_or_reaches_a_forbidden_place
    }
    network {
        the_host_s_loopback_is_another_one
        there_is_no_way_out
        abstract_sockets_of_the_host_are_out_of_reach
        rare_families_and_raw_sockets_are_refused_with_every_network
    }
}

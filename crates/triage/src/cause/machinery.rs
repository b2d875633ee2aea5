//! Functions that are on top of a stack because the kernel crashed, and not why.

/// In alphabetical order. Those of exceptions' entries and handlers, of traces and reports, of panic and kexec, and of
/// switching from one task to another, on top of every task that sleeps.
const NAMES: &[&str] = &[
    "__crash_kexec",
    "__die",
    "__die_body",
    "__die_header",
    "__do_kernel_fault",
    "__dump_stack",
    "__fortify_panic",
    "__nmi_panic",
    "__panic",
    "__report_bug",
    "__schedule",
    "__show_regs",
    "__stack_chk_fail",
    "__switch_to",
    "__warn",
    "__warn_printk",
    "_exception",
    "_exception_pkey",
    "asm_exc_general_protection",
    "asm_exc_invalid_op",
    "asm_exc_page_fault",
    "bad_area_nosemaphore",
    "bad_page_fault",
    "bug_handler",
    "check_panic_on_warn",
    "context_switch",
    "crash_fadump",
    "crash_kexec",
    "crash_save_cpu",
    "crash_setup_regs",
    "data_access_common_virt",
    "die",
    "die_addr",
    "die_kernel_fault",
    "do_mem_abort",
    "do_page_fault",
    "do_translation_fault",
    "do_trap",
    "dump_backtrace",
    "dump_stack",
    "dump_stack_lvl",
    "el1_abort",
    "el1h_64_sync",
    "el1h_64_sync_handler",
    "end_report",
    "exc_general_protection",
    "exc_invalid_op",
    "exc_page_fault",
    "fortify_panic",
    "handle_bug",
    "kasan_report",
    "kernelmode_fixup_or_oops",
    "kfence_report_error",
    "machine_kexec",
    "nmi_panic",
    "no_context",
    "oops_end",
    "oops_exit",
    "page_fault_oops",
    "panic",
    "panic_bad_stack",
    "print_address_description",
    "print_report",
    "report_bug",
    "rtas_fadump_trigger",
    "schedule",
    "show_regs",
    "show_stack",
    "vpanic",
    "warn_slowpath_fmt",
    "watchdog_overflow_callback",
];

/// How the names of the compilers' sanitizers begin that call the kernel's reports.
const PREFIXES: [&str; 2] = ["__asan_", "__ubsan_handle_"];

/// Reports whether a function, by its normalised name, says nothing about why the kernel crashed.
pub(crate) fn is_machinery(function: &str) -> bool {
    NAMES.binary_search(&function).is_ok() || PREFIXES.iter().any(|prefix| function.starts_with(prefix))
}

/// The name of a function without what changes from build to build: offset, size and module, the suffixes that compilers
/// give to copies and parts of functions, and the dot that big-endian POWER has in front.
pub(crate) fn normalised(frame: &str) -> String {
    let name = frame.split(['+', ' ']).next().unwrap_or_default();
    let name = name.strip_prefix('.').unwrap_or(name);
    // No function in C has a dot in its name; a Rust symbol as it is mangled has none either.
    name.split('.').next().unwrap_or_default().to_owned()
}

/// The names, for the documentation's test.
#[cfg(test)]
pub(crate) fn names() -> &'static [&'static str] {
    NAMES
}

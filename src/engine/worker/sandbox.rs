//! What the engine process gives up before it touches media: files, network, new programs.
//!
//! Best effort by design: a kernel without landlock or seccomp still runs the engine, with one line in the log.

use crate::engine::Limits;
use landlock::{ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, RulesetStatus};
use rustix::process::{Resource, Rlimit, setrlimit};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
use std::collections::BTreeMap;

/// What could not be had, in words.
pub type Missing = Vec<String>;

/// Applies all limits to this process; threads started later inherit them. `hardware`: an encoder needs device files and
/// driver libraries, so files stay open to it.
pub fn enter(limits: &Limits, hardware: bool) -> Missing {
    let mut missing = Missing::new();
    let mut limit = |what: Resource, most: u64, name: &str| {
        let both = Rlimit { current: Some(most), maximum: Some(most) };
        if let Err(e) = setrlimit(what, both) {
            missing.push(format!("limit of {name}: {e}"));
        }
    };
    limit(Resource::Core, 0, "core files");
    limit(Resource::As, limits.memory, "memory");
    limit(Resource::Fsize, 0, "file size");
    if !hardware && let Err(e) = files_and_network() {
        missing.push(format!("landlock: {e}"));
    }
    if let Err(e) = system_calls(hardware) {
        missing.push(format!("seccomp: {e}"));
    }
    missing
}

/// No file, no TCP port.
fn files_and_network() -> Result<(), String> {
    let abi = ABI::V4;
    let status = Ruleset::default()
        .handle_access(AccessFs::from_all(abi))
        .and_then(|r| r.handle_access(AccessNet::from_all(abi)))
        .and_then(|r| r.create())
        .and_then(|r| r.restrict_self())
        .map_err(|e| e.to_string())?;
    match status.ruleset {
        RulesetStatus::NotEnforced => Err("not in this kernel".to_owned()),
        RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced => Ok(()),
    }
}

/// Refuses calls that codecs have no business with. The list names what is refused, not what is allowed: libav, x264 and
/// libc differ too much between systems, and a call refused by mistake would cost the event.
fn system_calls(hardware: bool) -> Result<(), String> {
    let mut refused = vec![
        libc::SYS_socket,
        libc::SYS_socketpair,
        libc::SYS_bind,
        libc::SYS_connect,
        libc::SYS_listen,
        libc::SYS_accept,
        libc::SYS_accept4,
        libc::SYS_execve,
        libc::SYS_execveat,
        libc::SYS_ptrace,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_mount,
        libc::SYS_umount2,
        libc::SYS_pivot_root,
        libc::SYS_chroot,
        libc::SYS_setns,
        libc::SYS_unshare,
        libc::SYS_bpf,
        libc::SYS_perf_event_open,
        libc::SYS_keyctl,
        libc::SYS_add_key,
        libc::SYS_request_key,
        libc::SYS_io_uring_setup,
        libc::SYS_userfaultfd,
        libc::SYS_init_module,
        libc::SYS_finit_module,
        libc::SYS_kexec_load,
        libc::SYS_setuid,
        libc::SYS_setgid,
        libc::SYS_pidfd_getfd,
    ];
    #[cfg(target_arch = "x86_64")]
    refused.extend([libc::SYS_fork, libc::SYS_vfork]);
    if !hardware {
        refused.extend([
            libc::SYS_openat,
            libc::SYS_openat2,
            libc::SYS_unlinkat,
            libc::SYS_mkdirat,
            libc::SYS_linkat,
            libc::SYS_symlinkat,
            libc::SYS_renameat2,
            libc::SYS_fchmodat,
            libc::SYS_fchownat,
            libc::SYS_memfd_create,
        ]);
        #[cfg(target_arch = "x86_64")]
        refused.extend([
            libc::SYS_open,
            libc::SYS_creat,
            libc::SYS_unlink,
            libc::SYS_mkdir,
            libc::SYS_rename,
            libc::SYS_renameat,
            libc::SYS_link,
            libc::SYS_symlink,
            libc::SYS_chmod,
            libc::SYS_chown,
        ]);
    }
    let rules: BTreeMap<i64, Vec<seccompiler::SeccompRule>> = refused.into_iter().map(|n| (n, Vec::new())).collect();
    let arch = std::env::consts::ARCH.try_into().map_err(|_| "not for this processor".to_owned())?;
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(libc::EPERM as u32), arch)
        .map_err(|e| e.to_string())?;
    let program: BpfProgram = filter.try_into().map_err(|e: seccompiler::BackendError| e.to_string())?;
    seccompiler::apply_filter_all_threads(&program).map_err(|e| e.to_string())
}

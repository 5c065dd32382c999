// Package supervisor is PID 1 of a job's container: a small static program that starts steps when the agent asks,
// reaps orphans, forwards signals, enforces each step's timeout, and says how a step ended, also while no agent runs.
//
// It shares a container, and often a user, with untrusted steps. So it is given little: it dials the agent (never
// listens), gets descriptors of single files instead of directories, keeps secrets only in memory, and makes itself
// non-dumpable so that a step without CAP_SYS_PTRACE can't read its memory or its descriptors.
//
// What belongs to a step is decided by sessions: a step leads a session of its own, and whatever started a session
// later, below this process, is the step's too, unless it descends from a session that was there before. Processes
// that a step left behind, and that nobody stopped, live until the container ends.
package supervisor

// Package supervisor is PID 1 of a job's container: a small static program that starts steps when the agent asks,
// reaps orphans, forwards signals, enforces each step's timeout, and says how a step ended, also while no agent runs.
//
// It shares a container, and often a user, with untrusted steps. So it is given little: it dials the agent (never
// listens), gets descriptors of single files instead of directories, keeps secrets only in memory, and makes itself
// non-dumpable so that a step without CAP_SYS_PTRACE can't read its memory or its descriptors.
//
// What belongs to a step is decided by its control group, which the agent makes: the supervisor gets descriptors of single
// files of it, to start the step in it, to list it and to end it, and can reach no other group. Nothing leaves a group,
// whatever sessions it starts. An agent that gives none gets the second best: a step leads a session of its own, and
// whatever started a session later, below this process, is the step's too, unless it descends from a session that was
// there before.
//
// A time-out and a stop end everything of a step. What a step leaves behind when it ends by itself lives until the
// container ends.
package supervisor

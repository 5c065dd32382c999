// Package runner runs one attempt of a job: one actor, one goroutine, one step at a time.
//
//	accepted ──► preparing ──► running ──► finishing ──► done ──► (report acknowledged, pod removed, logs stored) forgotten
//	             "Set up job"  the steps   outputs
//
// The actor is a step function: advance does one thing and returns. All it knows is in state.Progress (which step, how each
// ended; bbolt), in the attempt's private directory (values that may be secret; tmpfs) and in the sandbox. Before a step
// starts, its whole specification is written and its intention recorded, in one small transaction that also records the
// step before; Start is idempotent by step id. So a process that is killed at any point leaves what the next one needs:
// it reads the records, starts what was meant to start, or waits for what already runs, and its exit and output are there.
//
// What waits (preparing a pod, a step's end) happens in helper goroutines whose only act is to send their result; cancels
// and deadlines arrive as notices. Only the actor changes anything.
package runner

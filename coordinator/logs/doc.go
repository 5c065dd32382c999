// Package logs is the log store on a local disk. A log is the exact bytes of one step of one attempt.
//
//	attempts/ATTEMPT/meta.json   which run, job, agent and token the attempt is of
//	attempts/ATTEMPT/N.log       the bytes of step N
//	attempts/ATTEMPT/N.end       its final length, once its end was pushed; not synced, because sums.json has it, too
//	attempts/ATTEMPT/sums.json   length and SHA-256 of every log, from the attempt's final report
//	runs/RUN/ATTEMPT             says that the attempt is one of the run's
//	registered.jsonl             the attempts that are registered and have no log yet, a line each
//
// Bytes come with offsets. What was written before is skipped, a gap is refused with the offset that is wanted; so whatever a
// sender repeats after a lost acknowledgement or a restart, no byte is lost, doubled or reordered. An offset is acknowledged
// only after Sync. Syncs are grouped: one that begins while another is in flight shares the next one.
//
// A log is complete when it is as long as its end or its sum says. Readers follow without polling: they wait on a channel that
// closes with the run's next change, and read from the file, so a slow reader costs no memory and stops nobody.
package logs

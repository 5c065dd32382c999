// Package logs carries a step's output from its file on this host to the coordinator.
//
//	raw file ──tail──► Filter (mask, notice commands) ──► length and SHA-256 known
//	                                                        │
//	raw file or overlay ◄── read at offset ── pusher ──64 KiB──► PushLogs ──acks──► OnAck
//
// The log is a pure function of the raw file and of the masks known when the step began, so nothing of it needs to be
// remembered but the offset that the store has acknowledged: a restarted agent filters the file again and sends from
// there, with identical bytes. Filtering never waits for sending, so a step's end is known also while the coordinator is
// away. As long as the filter has changed nothing the pusher reads the raw file itself; from the first change on it
// reads an overlay file that the filter writes.
package logs

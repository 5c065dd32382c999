// Package engine is the leader's mind: the in-memory truth of every live run, and what follows from each event.
//
//	API, gateways ──events──▶ mailbox ──▶ one goroutine ──▶ a run's draft ──▶ lifecycle tables ──▶ commit ──▶ the draft becomes the truth,
//	timers        ──────────▶         ◀── outcome of the transition ◀───────────────────────────────┘        then replies, offers, watchers
//
// A run is changed by one draft at a time. Events that arrive while its draft is being committed gather in the run's inbox and make the next
// draft together, so that a run with a hundred reporting jobs costs a few transactions, and nothing is ever built on a change that is not stored.
// Side effects (replies, messages to agents, views for watchers) happen only after the commit. If the fence fails, the engine stops and all
// its memory goes; the next term's engine loads again.
//
// Nothing here reads the machine's clock or makes an id by itself, and all state is touched by one goroutine: a simulation can drive Step by
// itself and replay a seed.
package engine

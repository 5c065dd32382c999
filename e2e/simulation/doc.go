// Package simulation runs whole fleets in virtual time: the production packages of engine, committer, scheduler, tables, gateway, session, holder,
// runner and the agent's database, with clock, network, store, election, sandbox and randomness of its own. What happens follows from a seed, and
// a checker holds every committed transaction and every acknowledgement against the promises of the design.
//
//	                 ┌───────────── one loop: next event, then until nothing moves ─────────────┐
//	clients ──rpc──▶ │ coordinator c1, c2 (gateway, engine by Step, committer) ──▶ store, lease │
//	                 │        ▲ links: delay, loss, duplicates, partitions                      │
//	                 │ agents a1 … (session, holder, runner, bbolt) ──▶ sandbox world           │
//	                 └──────────────────────────────────────────────────────────────────────────┘
//
// # How it is deterministic
//
// Production code keeps its goroutines; they live in a testing/synctest bubble. The loop makes one thing happen at a time (a message arrives, a
// timer fires, a store call is answered) and waits until every goroutine is blocked for good before it decides anything else. Every way out of
// production code (store, sandbox, election, stream, call to the leader, start of an actor) parks its goroutine; the loop takes what is parked
// in an order by name and lets it go on one by one. What several goroutines leave on a stream at one time is put into an order by its content. So the order
// in which the machine ran them can't be seen, and the history is the same on any number of processors.
package simulation

// Package archive seals finished runs: it makes a bundle of everything that is known of a run, and takes the run out of the store.
//
//	logs packed ─▶ bundle in the blob store ─▶ entry in the index ─▶ one fenced transaction: the chain's head, and the run's keys are gone
//
// Each arrow is durable before the next, and each step may be done again: after a crash the run is still in the store, whole, and is sealed
// anew; what the crash left (a blob that nobody names, an entry of the index whose bundle is not in the chain) is cleaned up or replaced. The head
// moves in the very transaction that removes the keys, so no run is in the chain and in the store, or in neither.
//
// It runs within a leader's term, in one goroutine, and only touches runs that have ended: the engine has none of them in memory.
package archive

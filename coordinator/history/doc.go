// Package history finds and reads sealed runs. The bundles in the blob store are the truth; beside them is an index, a SQLite file in the
// coordinator's data directory, that nothing depends on: it may be deleted, and is made again from the bundles.
//
// A run is put into the index before it leaves the store (coordinator/archive), so that who looks in the store first and then here misses none.
// The index also remembers how far each project's chain is in it; Follow adds what is missing, by walking the chain back from its head.
package history

// Package retain says how long finished runs are kept, and removes what nothing refers to any more.
//
//	policy (pure) ─▶ tombstones in the blob store ─▶ the chain's head says how far it has expired ─▶ the index forgets ─▶ blobs are collected
//
// A project's runs expire oldest first, so what is left of a chain is its end, and a list of tombstones stands for its beginning. Blobs are
// collected by marking what live runs, chains and sealed runs refer to, and sweeping what was unmarked for a while and was neither put nor touched
// in it: an upload that nobody refers to yet is safe.
package retain

// Package seal is the format of a finished run: bytes in, bundle out, and the chain that holds the bundles of a project to each other. Pure.
//
//	bundle 1 ◀── link 1 ── bundle 2 ◀── link 2 ── bundle 3 ◀── link 3 = the head, in the store
//
// A bundle is a blob, so its digest is that of its bytes. The link of a bundle is the SHA-256 of its project, its place, the link before it and
// its digest; the bundle after it holds that link. So the head's link holds every bundle to its bytes and its place: what is changed, removed or
// put in between shows. A bundle that has expired leaves a tombstone with just what its link is made of, and the chain can still be followed.
package seal

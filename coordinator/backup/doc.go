// Package backup copies a coordinator while it runs, puts the copy back elsewhere, and checks that what is stored holds together.
//
// A backup has the store as it was at one revision, then everything that it refers to: blobs never change, logs only grow, and neither is removed
// within an hour of not being needed. So what is copied after the store has at least what the store knows of. The index of finished runs is left
// out: it is made again from the bundles.
package backup

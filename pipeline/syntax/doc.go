// Package syntax reads workflow files: bytes in, an AST whose every node knows its place, and findings. It knows the
// shape of the language (keys, types), not its meaning; that is package check.
//
// A file is read strictly: a key that is not known is an error, a key that GitHub knows and Slipway does not do yet is an
// error that says so, and a key of Slipway's own is an error in .github/, so that such a file stays one that GitHub runs.
// All findings come at once. Size, depth and the growth through aliases are bounded before anything is read.
package syntax

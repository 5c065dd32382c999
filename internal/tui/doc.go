// Package tui shows runs while they happen: on a terminal a live tree of jobs that is redrawn in place, elsewhere plain
// lines, each with its job in front.
//
//	Run, Log, Notice ──► Model ──► Frame(size, now) ──► Painter ──► terminal
//	                └──► Plain ──► any writer
//
// Model and Frame are pure: the same events, size and time give the same lines, which is how the tests compare them.
package tui

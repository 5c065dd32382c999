// Package devstack keeps a few processes of this machine running, one supervisor for all of them, so that none of them
// needs another one to live:
//
//	            ┌─ starts, or adopts what runs ──┐
//	supervisor ─┼─ restarts what ended, backing off
//	            └─ stops in reverse order, if told so
//
// Every process is in a session of its own and writes to a log file, so a supervisor that is killed takes nobody along. The
// next supervisor recognises the processes by pid and start time (a pid alone may have a new owner), and by a variable
// in their environment if the pid file was never written.
package devstack

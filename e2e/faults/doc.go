// Package faults kills processes of a whole Slipway under load, at moments that a seed decides, and sees that every job ends as it must, with every
// byte of its log, and that nothing is left behind.
//
//	go test ./e2e/faults                               # a few seeds, as in CI
//	make faults KILLS=1:100                            # at length, with a row in LEDGER.md
//	go test ./e2e/faults -args -seeds 17:17            # one seed again
//
// A seed fixes the jobs of a wave, which kinds of processes are killed, and when after the submit; what a process does at that moment is up to the
// machine, so a failing seed may need a few tries to fail again.
package faults

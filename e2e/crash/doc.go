// Package crash kills a coordinator under load with kill -9, at moments that a seed decides, and sees that no run is lost and none is doubled.
//
// The coordinator is a process of its own, with its embedded etcd, over real gRPC. The agents are real ones with a sandbox in memory, in another
// process that lives on. Every step notes that it ran in a file, so that a job that ran twice is seen.
//
//	go test ./e2e/crash                                     # a few kills, as in CI
//	go test ./e2e/crash -v -args -kills 200 -seed 1         # at length (make faults)
//	go test ./e2e/crash -v -args -kills 1 -seed 17          # the moment of the 17th kill again
//
// The kill number n has the seed -seed + n. It fixes whether the coordinator is killed while it starts or while it works, and after how long; what it
// does at that moment is up to the machine, so a failing seed may need a few tries to fail again.
package crash

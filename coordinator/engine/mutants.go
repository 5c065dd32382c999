package engine

// Mutants are planted bugs: the simulation shows with them that it would find such a bug. Nothing else ever sets one.
type Mutants struct {
	// NoFence: transactions do not compare the leader's fence.
	NoFence bool
	// EarlyAck: submits and reports are answered before they are committed.
	EarlyAck bool
	// EarlyRelease: an attempt's slot is free before its end is committed.
	EarlyRelease bool
}

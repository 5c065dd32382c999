package identity

// Keys that the engine writes when an agent is removed.
const (
	RemovedPrefix = removedPrefix
	AgentPrefix   = agentPrefix
)

// What codes of sign-ins are.
const (
	SignInPrefix = signInPrefix
	MaxSignIns   = maxSignIns
)

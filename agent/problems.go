package agent

// problems are what is wrong with this agent, in words that say what to do; each begins with "degraded: ". It never waits.
func (a *Agent) problems() []string { return nil }

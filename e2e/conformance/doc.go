// Package conformance holds the workflow language's conformance cases: small workflows, each with the rule that it
// checks and with everything that must come of it, run by the real CLI, coordinator, agent and sandbox. README.md says
// how a case is written; RULES.md lists the rules.
package conformance

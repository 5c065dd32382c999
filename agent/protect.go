package agent

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// oomScore is what the kernel adds to the agent's badness when it looks for a process to kill for want of memory (proc(5), oom_score_adj): half of
// all memory less. The same as in the service's unit.
const oomScore = -500

// protect makes the kernel kill jobs before the agent when memory runs out; it lasts for the process. What the agent starts inherits it, so it
// is not for agents whose jobs are their children. How the jobs share processors with the agent is the hierarchy's business: all pods together
// are one control group beside the agent's.
func protect() error {
	const path = "/proc/self/oom_score_adj"
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("agent: %w", err)
	}
	now, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || now <= oomScore {
		return err
	}
	if err := os.WriteFile(path, []byte(strconv.Itoa(oomScore)), 0o644); err != nil {
		return fmt.Errorf("agent: %w", err)
	}
	return nil
}

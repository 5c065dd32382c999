package tui

import (
	"fmt"
	"slices"
	"strings"

	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
)

// rank orders jobs by how much people want to see them; lower is more.
func rank(s corev1.JobState) int {
	switch jobLook(s) {
	case lookRunning, lookCancel:
		return 0
	case lookFailed, lookTimedOut:
		return 1
	case lookCancelled:
		return 2
	case lookQueued:
		return 3
	case lookSucceeded:
		return 4
	case lookWaiting:
		return 5
	}
	return 6
}

// choose picks the jobs that fit into rows, in their own order, and says what it folded away. The fold takes one row.
func choose(jobs []*apiv1.Job, rows int) (shown []*apiv1.Job, folded string) {
	if len(jobs) <= rows {
		return jobs, ""
	}
	keep := max(rows-1, 0)
	order := make([]int, len(jobs))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return rank(jobs[a].GetState()) - rank(jobs[b].GetState()) })
	picked := map[int]bool{}
	for _, i := range order[:keep] {
		picked[i] = true
	}
	counts := map[string]int{}
	var words []string
	for i, j := range jobs {
		if picked[i] {
			shown = append(shown, j)
			continue
		}
		w := JobWord(j.GetState())
		if counts[w]++; counts[w] == 1 {
			words = append(words, w)
		}
	}
	if rows <= 0 {
		return nil, ""
	}
	parts := make([]string, len(words))
	for i, w := range words {
		parts[i] = fmt.Sprintf("%d %s", counts[w], w)
	}
	return shown, fmt.Sprintf("%d more: %s", len(jobs)-keep, strings.Join(parts, ", "))
}

// Package runfilter reads what `slipway runs ls` is asked for.
package runfilter

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
)

// Flags as people write them.
type Flags struct {
	Project, Pipeline, Branch, Commit, User string
	Status                                  []string
	Since, Until                            string
	Limit                                   uint32
	Page                                    string
}

// Filters says whether not all runs are asked for.
func (f Flags) Filters() bool {
	return f.Pipeline+f.Branch+f.Commit+f.User+f.Since+f.Until+f.Page != "" || len(f.Status) > 0
}

var commit = regexp.MustCompile(`^[0-9a-f]{1,40}$`)

// Request returns the listing that is asked for.
func (f Flags) Request(now time.Time) (*apiv1.ListRunsRequest, error) {
	r := &apiv1.ListRunsRequest{Project: f.Project, Pipeline: f.Pipeline, Branch: f.Branch, Commit: strings.ToLower(f.Commit), Actor: f.User, Limit: f.Limit, Page: f.Page}
	if f.Commit != "" && !commit.MatchString(r.GetCommit()) {
		return nil, fmt.Errorf("--commit %q: want a commit's hash, or its beginning", f.Commit)
	}
	for _, word := range f.Status {
		states, err := parseStatus(word)
		if err != nil {
			return nil, err
		}
		r.States = append(r.States, states...)
	}
	var err error
	if r.SinceMs, err = parseTime("since", f.Since, now); err != nil {
		return nil, err
	}
	if r.UntilMs, err = parseTime("until", f.Until, now); err != nil {
		return nil, err
	}
	if r.GetUntilMs() != 0 && r.GetSinceMs() >= r.GetUntilMs() {
		return nil, fmt.Errorf("--since %s is not before --until %s", f.Since, f.Until)
	}
	return r, nil
}

// live stands for every state before the end.
const live = "live"

func parseStatus(word string) ([]corev1.RunState, error) {
	var known []string
	var alive []corev1.RunState
	for name, n := range corev1.RunState_value {
		s := corev1.RunState(n)
		if s == corev1.RunState_RUN_STATE_UNSPECIFIED {
			continue
		}
		own := strings.ToLower(strings.TrimPrefix(name, "RUN_STATE_"))
		if own == word {
			return []corev1.RunState{s}, nil
		}
		known = append(known, own)
		if s < corev1.RunState_RUN_STATE_SUCCEEDED {
			alive = append(alive, s)
		}
	}
	if word == live {
		slices.Sort(alive)
		return alive, nil
	}
	slices.Sort(known)
	return nil, fmt.Errorf("--status %q: want %s, or live for all that have not ended", word, strings.Join(known, ", "))
}

// layouts of times, in the zone of this machine where they say none.
var layouts = []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02 15:04", "2006-01-02"}

func parseTime(flag, text string, now time.Time) (int64, error) {
	if text == "" {
		return 0, nil
	}
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.Atoi(days); err == nil && n >= 0 && n < 100_000 {
			return now.AddDate(0, 0, -n).UnixMilli(), nil
		}
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return now.Add(-d).UnixMilli(), nil
	}
	for _, layout := range layouts {
		if t, err := time.ParseInLocation(layout, text, now.Location()); err == nil && t.UnixMilli() > 0 {
			return t.UnixMilli(), nil
		}
	}
	return 0, fmt.Errorf("--%s %q: want how long ago, as 90m or 7d, or a time as 2006-01-02 or 2006-01-02T15:04", flag, text)
}

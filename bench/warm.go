package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-ci/slipway/e2e/cluster"
)

// warmStack is a second Slipway, whose agent makes pods ahead; the first one's never does. It is started when it is first
// wanted, and has run one job of the kind that it is to make pods for.
func (s *stack) warmStack(ctx context.Context) (*stack, error) {
	if s.warm != nil {
		return s.warm, nil
	}
	c, err := cluster.Start(ctx, cluster.Options{Slots: parallelism, Flags: []string{"--warm-pods=1"}})
	if err != nil {
		return nil, err
	}
	w := &stack{cluster: c, scale: s.scale}
	if w.client, err = c.Client(); err == nil {
		_, err = w.timeRun(ctx, noop)
	}
	if err != nil {
		return nil, errors.Join(err, w.close())
	}
	s.warm = w
	return w, nil
}

const (
	settlePatience = time.Minute
	settleLook     = 10 * time.Millisecond
)

// settle waits until the agents hold no attempt, and those that make pods ahead have done so.
func settle(ctx context.Context, clusters ...*cluster.Cluster) error {
	for began := time.Now(); ; {
		busy := ""
		for _, c := range clusters {
			m, err := metrics(ctx, c.AgentMetrics())
			if err != nil {
				return err
			}
			missed, taken, ready := m["slipway_agent_warm_pods_missed_total"], m["slipway_agent_warm_pods_taken_total"], m["slipway_agent_warm_pods"]
			if m["slipway_agent_attempts"] > 0 || (missed+taken > 0 && ready == 0) {
				busy = fmt.Sprintf("the agent at %s holds %v attempts and has %v pods ready", c.AgentMetrics(), m["slipway_agent_attempts"], ready)
			}
		}
		if busy == "" {
			return nil
		}
		if time.Since(began) > settlePatience {
			return fmt.Errorf("not settled after %s: %s", settlePatience, busy)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(settleLook):
		}
	}
}

// metrics reads what /metrics serves without labels.
func metrics(ctx context.Context, address string) (map[string]float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	all := map[string]float64{}
	for lines := bufio.NewScanner(res.Body); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), " ")
		if v, err := strconv.ParseFloat(value, 64); err == nil {
			all[name] = v
		}
	}
	return all, nil
}

// taken is how many jobs got a pod that was made ahead.
func (s *stack) taken(ctx context.Context) (float64, error) {
	m, err := metrics(ctx, s.cluster.AgentMetrics())
	return m["slipway_agent_warm_pods_taken_total"], err
}

func (s *stack) mustHaveTaken(ctx context.Context, least float64) error {
	n, err := s.taken(ctx)
	if err == nil && n < least {
		err = fmt.Errorf("%v jobs got a pod that was made ahead, want %v: what was measured is something else", n, least)
	}
	return err
}

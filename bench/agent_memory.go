package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-ci/slipway/bench/measure"
)

// memoryTarget is what an idle agent may hold, in MB.
const memoryTarget = 30

// idleTime is how long an agent has nothing to do before it counts as idle.
const idleTime = 20 * time.Second

// agentMemory is the resident memory of the agent when nothing runs any more, after all that was measured before, and the most
// that it ever had. What of it is its own (anonymous) is told apart: the rest are pages of the binary's file, which the kernel
// shares and drops as it likes.
func agentMemory(ctx context.Context, s *stack) ([]measure.Result, error) {
	if err := settle(ctx, s.cluster); err != nil {
		return nil, err
	}
	select {
	case <-time.After(idleTime):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	pid, err := s.cluster.PID(ctx, "agent")
	if err != nil {
		return nil, err
	}
	m, err := memoryOf(pid)
	if err != nil {
		return nil, err
	}
	result := func(name, key, against string) measure.Result {
		v := measure.Samples{m[key]}
		return measure.Compare(name, "MB", measure.Lower, v, measure.Samples{memoryTarget}, against)
	}
	return []measure.Result{
		result("agent.idle_memory", "VmRSS", "the most that is allowed"),
		result("agent.idle_memory_own", "RssAnon", "… without the binary's file"),
		result("agent.peak_memory", "VmHWM", "… of an idle one"),
	}, nil
}

// memoryOf reads proc(5) /proc/PID/status, in MB.
func memoryOf(pid int) (map[string]float64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return nil, err
	}
	all := map[string]float64{}
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) == 3 && f[2] == "kB" {
			kb, err := strconv.ParseFloat(f[1], 64)
			if err != nil {
				return nil, err
			}
			all[strings.TrimSuffix(f[0], ":")] = kb * 1024 / 1e6
		}
	}
	return all, nil
}

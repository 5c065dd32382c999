package faults

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// killed counts what was killed in a wave.
type killed struct {
	mu sync.Mutex
	by map[target]int
}

// kill waits for its moment and kills; if there is no such process just then, the next one. It gives up when the wave's jobs have ended.
func (d *killed) kill(ctx context.Context, t *testing.T, k kill, began time.Time, ended <-chan struct{}) {
	timer := time.NewTimer(time.Until(began.Add(k.after)))
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-ended:
			return
		}
		ok, err := d.try(ctx, k)
		if err != nil {
			t.Errorf("killing %s: %v", k.target, err)
		}
		if ok || err != nil {
			return
		}
		timer.Reset(10 * time.Millisecond)
	}
}

func (d *killed) try(ctx context.Context, k kill) (bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var pid int
	var err error
	if k.target == shim {
		var pids []int
		if pids, err = shims(); len(pids) > 0 {
			pid = pids[int(k.pick)%len(pids)]
		}
	} else {
		pid, err = sys.PID(ctx, string(k.target))
	}
	if err != nil || pid == 0 {
		return false, err
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		return false, nil // It ended by itself in between.
	}
	d.by[k.target]++
	return true, nil
}

// shims are the cluster's shim processes, found by the socket of its containerd.
func shims() ([]int, error) {
	cmdlines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, path := range cmdlines {
		cmdline, err := os.ReadFile(path)
		if err != nil {
			continue // It has ended.
		}
		args := strings.Split(string(cmdline), "\x00")
		if !strings.Contains(args[0], "containerd-shim") || !strings.Contains(string(cmdline), sys.Dir+"/") {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			return nil, err
		}
		pids = append(pids, pid)
	}
	return pids, nil
}

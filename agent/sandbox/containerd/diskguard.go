package containerd

import (
	"context"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-ci/slipway/agent/sandbox/cgroup"
)

// A step that fills the disk would fail every other job on the host. The guard looks how much is free, which costs two system
// calls; only when that becomes little it counts what each pod has written, and ends the steps of the one with the most. Project
// quotas would stop it at once, but few hosts have their file systems mounted with them, root in a container of the default
// isolation can leave its project, and a loop device of a fixed size for each pod costs more than the pod itself.
type diskGuard struct {
	sb   *Sandbox
	stop context.CancelFunc
	done chan struct{}
}

const (
	guardLook = 250 * time.Millisecond
	// guardRest is for what was ended to be cleaned up, before another pod has to go; not if the disk fills on.
	guardRest = 5 * time.Second
	// keepPart and keepMost bound what is to be left free of a file system.
	keepPart = 20
	keepMost = 4 << 30
	// killPatience bounds the end of a pod's steps.
	killPatience = 10 * time.Second
)

func newDiskGuard(s *Sandbox) *diskGuard {
	ctx, stop := context.WithCancel(context.Background())
	g := &diskGuard{sb: s, stop: stop, done: make(chan struct{})}
	go g.run(ctx)
	return g
}

func (g *diskGuard) close() {
	g.stop()
	<-g.done
}

func (g *diskGuard) run(ctx context.Context) {
	defer close(g.done)
	tick := time.NewTicker(guardLook)
	defer tick.Stop()
	var rest time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			left, keep := g.scarcest()
			if left >= keep || now.Before(rest) && left >= keep/2 {
				continue
			}
			if g.end(ctx, left) {
				rest = now.Add(guardRest)
			}
		}
	}
}

// scarcest returns the free bytes of the file system that lacks the most of what it should have left, and how many it should.
func (g *diskGuard) scarcest() (left, keep int64) {
	left, keep = 1, 0
	for _, dir := range append([]string{g.sb.images.root}, g.sb.cfg.Volumes...) {
		var st unix.Statfs_t
		if dir == "" || unix.Statfs(existing(dir), &st) != nil {
			continue
		}
		free, want := int64(st.Bavail)*st.Bsize, g.sb.cfg.KeepFree
		if want == 0 {
			want = min(int64(st.Blocks)*st.Bsize/keepPart, keepMost)
		}
		if free-want < left-keep {
			left, keep = free, want
		}
	}
	return left, keep
}

// end stops the steps of the pod that has written the most; false if it has none.
func (g *diskGuard) end(ctx context.Context, left int64) bool {
	most, written := g.greediest(ctx)
	if most == nil {
		return false
	}
	var group string
	for _, box := range most.boxes() {
		steps := filepath.Dir(cgroup.StepGroup(box.jobGroup(), "x"))
		if running, err := g.sb.cgroups.Processes(steps); err == nil && len(running) > 0 {
			most, group = box, steps
		}
	}
	if group == "" {
		return false // its step has ended, and what it wrote goes with it: nobody else has to
	}
	most.written.Store(written)
	g.sb.cfg.Log.Warn("the disk is nearly full: ending the step of the job that wrote the most", "pod", most.id, "written", written, "left", left)
	ctx, cancel := context.WithTimeout(ctx, killPatience)
	defer cancel()
	if err := g.sb.cgroups.Kill(ctx, group); err != nil {
		g.sb.cfg.Log.Error("the step of the job that wrote the most does not end", "pod", most.id, "err", err)
	}
	return true
}

// greediest is the pod that has written the most; nil if none has written anything.
func (g *diskGuard) greediest(ctx context.Context) (most *Pod, written int64) {
	g.sb.mu.Lock()
	pods := slices.Collect(maps.Values(g.sb.pods))
	g.sb.mu.Unlock()
	for _, p := range pods {
		if n := p.usage(ctx); n > written {
			most, written = p, n
		}
	}
	return most, written
}

// filledBy returns what the pod had written, if it was that which filled the disk before the guard looked: it has written the
// most, and without it there would be as much left as there should be. Else 0.
func (g *diskGuard) filledBy(ctx context.Context, p *Pod) int64 {
	left, keep := g.scarcest()
	if left >= keep {
		return 0
	}
	if most, written := g.greediest(ctx); most != nil && most.id == p.id && left+written >= keep {
		return written
	}
	return 0
}

// usage counts the bytes on disk of what the pod has written: what is mounted into it, and over its images.
func (p *Pod) usage(ctx context.Context) int64 {
	var dirs []string
	for _, w := range p.state.Writable {
		if !w.Host {
			dirs = append(dirs, w.Source)
		}
	}
	service := p.sb.client.SnapshotService(p.sb.cfg.Snapshotter)
	var names []string
	for _, box := range p.boxes() {
		names = append(names, box.box)
	}
	for _, svc := range p.state.Services {
		names = append(names, svc.Container)
	}
	for _, name := range names {
		mounts, err := service.Mounts(p.sb.context(ctx), containerID(p.name, name))
		if err != nil {
			continue
		}
		if o, err := parseOverlay(mounts); err == nil {
			dirs = append(dirs, o.upper)
		}
	}
	// What its steps printed, too, as far as it has not been taken away yet.
	requests, _ := filepath.Glob(p.dir.request("*")) // the pattern is a good one
	for _, file := range requests {
		var req request
		if readJSON(file, &req) == nil && req.Output != "" {
			dirs = append(dirs, req.Output)
		}
	}
	var total int64
	for _, dir := range dirs {
		_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
			if err != nil {
				return nil //nolint:nilerr // It is being written to; what can't be seen does not count.
			}
			if info, err := d.Info(); err == nil {
				if st, ok := info.Sys().(*syscall.Stat_t); ok {
					total += st.Blocks * 512
				}
			}
			return ctx.Err()
		})
	}
	return total
}

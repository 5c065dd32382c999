package containerd

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/slipway-ci/slipway/agent/sandbox"
)

const (
	// defaultWarmIdle is how long pods are kept ready for a shape that no job asks for.
	defaultWarmIdle = 15 * time.Minute
	// scarcePart of the host's memory, at least, must be available for pods that nobody has asked for yet; scarceLook is
	// how often it is looked at while there are any.
	scarcePart = 8
	scarceLook = 30 * time.Second
	// drainPatience is for removing them when the agent stops.
	drainPatience = 20 * time.Second
)

// pool keeps pods that were made ahead. One goroutine makes and removes them, one at a time and only while no job begins
// or is being removed, so that it delays none.
type pool struct {
	sb   *Sandbox
	wake chan struct{}
	stop context.CancelFunc
	done chan struct{}
	// own begins the names that this process gives: whatever else has a name like it was left by an earlier one.
	own    string
	making sync.Mutex // one pod at a time

	mu            sync.Mutex
	stock         stock
	named         int
	taken, missed int64
}

// kept is what a pool remembers in a file: an agent that is restarted makes what the last one had ready.
type kept struct {
	Shapes []keptShape `json:"shapes"`
}

type keptShape struct {
	shape
	Used time.Time `json:"used"`
}

func newPool(s *Sandbox) *pool {
	return &pool{
		sb: s, wake: make(chan struct{}, 1), done: make(chan struct{}), own: aheadPrefix + strings.ToLower(rand.Text()[:8]) + "-",
		stock: stock{per: s.cfg.WarmPods, idle: s.cfg.WarmIdle, shelves: map[shape]*shelf{}},
	}
}

func (p *pool) file() string { return filepath.Join(p.sb.cfg.Dir, "warm.json") }

// begin starts the goroutine, also for a pool that is off: an earlier agent may have left pods.
func (p *pool) begin() {
	if p.stock.per > 0 {
		var k kept
		if err := readJSON(p.file(), &k); err != nil && !errors.Is(err, fs.ErrNotExist) {
			p.sb.cfg.Log.Warn("which pods to make ahead is not remembered", "err", err)
		}
		for _, s := range k.Shapes {
			p.stock.shelves[s.shape] = &shelf{used: s.Used}
		}
	}
	ctx, stop := context.WithCancel(context.Background())
	p.stop = stop
	go p.run(ctx)
}

func (p *pool) run(ctx context.Context) {
	defer close(p.done)
	p.sweep(ctx)
	// containerd may have been making one for an agent that was killed.
	again := time.After(orphanPatience)
	for ctx.Err() == nil {
		drop, build, wait := p.plan()
		for _, a := range drop {
			p.drop(ctx, a)
		}
		if build != nil {
			p.build(ctx, *build)
		}
		if len(drop) > 0 || build != nil {
			continue
		}
		p.remember()
		select {
		case <-ctx.Done():
		case <-p.wake:
		case <-time.After(wait):
		case <-again:
			p.sweep(ctx)
		}
	}
}

func (p *pool) plan() (drop []*ahead, build *shape, wait time.Duration) {
	scarce, host := memoryIsScarce(), p.sb.hostFiles()
	p.mu.Lock()
	defer p.mu.Unlock()
	drop, build, wait = p.stock.plan(time.Now(), func(a *ahead) bool { return a.alive(host) }, scarce)
	if p.stock.per == 0 {
		return drop, nil, never
	}
	if len(p.stock.shelves) > 0 {
		wait = min(wait, scarceLook)
	}
	return drop, build, wait
}

// build makes one pod and puts it on its shelf. It is not interrupted by a job that begins meanwhile, but by a stop.
func (p *pool) build(ctx context.Context, sh shape) {
	if ctx.Err() != nil {
		return
	}
	p.making.Lock()
	defer p.making.Unlock()
	p.mu.Lock()
	if f := p.stock.shelves[sh]; f == nil || len(f.pods) >= p.stock.per {
		p.mu.Unlock()
		return
	}
	p.named++
	name := p.own + strconv.Itoa(p.named)
	p.mu.Unlock()
	a, err := p.sb.makeAhead(ctx, name, sh)
	p.mu.Lock()
	if err != nil {
		p.stock.spoil(sh, time.Now())
	}
	wanted := err == nil && p.stock.put(a)
	p.mu.Unlock()
	switch {
	case err != nil && ctx.Err() == nil:
		p.sb.cfg.Log.Warn("a pod could not be made ahead", "image", sh.Image, "err", err)
	case err == nil && !wanted:
		p.drop(ctx, a)
	case err == nil:
		go func() {
			select {
			case <-a.p.dead:
				p.kick()
			case <-a.taken:
			}
		}()
	}
}

func (p *pool) drop(ctx context.Context, a *ahead) {
	close(a.taken)
	if err := p.sb.discard(ctx, a); err != nil {
		p.sb.cfg.Log.Warn("a pod that was made ahead could not be removed; the next agent does it", "made_as", a.name, "err", err)
	}
}

// take returns a pod for a job, out of the pool; nil if there is none.
func (p *pool) take(spec sandbox.PodSpec) *ahead {
	sh, ok := shapeOf(spec)
	if !ok || p.stock.per == 0 {
		return nil
	}
	host := p.sb.hostFiles()
	p.mu.Lock()
	defer p.mu.Unlock()
	a := p.stock.use(sh, time.Now(), func(a *ahead) bool { return a.alive(host) })
	if a == nil {
		p.missed++
		return nil
	}
	p.taken++
	close(a.taken)
	return a
}

// spoiled says that a pod of the pool turned out to be of no use.
func (p *pool) spoiled(spec sandbox.PodSpec, now time.Time) {
	if sh, ok := shapeOf(spec); ok {
		p.mu.Lock()
		p.stock.spoil(sh, now)
		p.mu.Unlock()
	}
}

// busy says that a job begins or is being removed; the pool waits until it is over.
func (p *pool) busy() (over func()) {
	p.mu.Lock()
	p.stock.busy++
	p.mu.Unlock()
	return func() {
		p.mu.Lock()
		p.stock.busy--
		p.stock.since = time.Now()
		p.mu.Unlock()
		p.kick()
	}
}

func (p *pool) kick() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// remember keeps the shapes that jobs asked for.
func (p *pool) remember() {
	p.mu.Lock()
	var k kept
	for _, sh := range p.stock.latest() {
		k.Shapes = append(k.Shapes, keptShape{sh, p.stock.shelves[sh].used})
	}
	dirty := p.stock.dirty && p.stock.per > 0
	p.stock.dirty = false
	p.mu.Unlock()
	if !dirty {
		return
	}
	if err := writeJSON(p.file(), k); err != nil {
		p.sb.cfg.Log.Warn("which pods to make ahead will not be remembered", "err", err)
	}
}

// sweep removes what pools of earlier agents left, whole or half-made. What a job took is the job's. It is not interrupted by
// a stop: who stops wants nothing to be left.
func (p *pool) sweep(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanPatience)
	defer cancel()
	names, err := p.leftovers(p.sb.context(ctx))
	for name := range names {
		err = errors.Join(err, p.sb.remove(ctx, name))
	}
	if err != nil {
		p.sb.cfg.Log.Warn("pods that an earlier agent made ahead could not be removed", "err", err)
	}
}

func (p *pool) leftovers(ctx context.Context) (map[string]bool, error) {
	found, claimed := map[string]bool{}, map[string]bool{}
	ids, err := p.sb.onDisk()
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		found[id] = true
		if st, err := p.sb.dir(id).load(); err == nil && !isAhead(id) {
			claimed[st.name()] = true
		}
	}
	records, err := p.sb.client.ContainerService().List(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing containers: %w", err)
	}
	for _, c := range records {
		found[c.Labels[labelPod]] = true
	}
	tasks, err := p.sb.tasks(ctx)
	if err != nil {
		return nil, err
	}
	for _, t := range tasks {
		found[t[:max(0, strings.LastIndexByte(t, '-'))]] = true
	}
	maps.DeleteFunc(found, func(name string, _ bool) bool {
		return !isAhead(name) || claimed[name] || strings.HasPrefix(name, p.own)
	})
	return found, nil
}

// close stops making pods and removes those that no job took.
func (p *pool) close() error {
	p.stop()
	<-p.done
	p.remember()
	p.mu.Lock()
	pods := p.stock.all()
	p.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), drainPatience)
	defer cancel()
	var g errgroup.Group
	g.SetLimit(shimLimit)
	for _, a := range pods {
		close(a.taken)
		g.Go(func() error { return p.sb.discard(ctx, a) })
	}
	return g.Wait()
}

// Prepare makes a pod ahead for jobs like the one that spec is for, unless there is one ready.
func (s *Sandbox) Prepare(ctx context.Context, spec sandbox.PodSpec) error {
	sh, ok := shapeOf(spec)
	if !ok || s.cfg.WarmPods == 0 {
		return fmt.Errorf("no pod can be made ahead for %s: %w", spec.ID, sandbox.ErrUnsupported)
	}
	s.pool.mu.Lock()
	f := s.pool.stock.shelves[sh]
	if f == nil {
		f = &shelf{}
		s.pool.stock.shelves[sh] = f
	}
	f.used, f.retry = time.Now(), time.Time{}
	full := len(f.pods) >= s.pool.stock.per
	s.pool.mu.Unlock()
	if full {
		return nil
	}
	s.pool.build(ctx, sh)
	s.pool.mu.Lock()
	defer s.pool.mu.Unlock()
	if len(f.pods) == 0 {
		return errors.New("no pod could be made ahead; the log says why")
	}
	return nil
}

// Pool implements sandbox.Pooled.
func (s *Sandbox) Pool() sandbox.PoolStats {
	s.pool.mu.Lock()
	defer s.pool.mu.Unlock()
	return sandbox.PoolStats{Ready: s.pool.stock.ready(), Taken: s.pool.taken, Missed: s.pool.missed}
}

// memoryIsScarce is whether the host has little memory to spare; proc(5), /proc/meminfo.
func memoryIsScarce() bool {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return false
	}
	defer f.Close()
	values := map[string]int64{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) > 1 {
			values[fields[0]], _ = strconv.ParseInt(fields[1], 10, 64)
		}
	}
	available, ok := values["MemAvailable:"]
	return ok && available < values["MemTotal:"]/scarcePart
}

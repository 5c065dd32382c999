package fleet

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync/atomic"
	"time"
)

// Command is the first argument of a process that is a fleet; the rest of its arguments is Config as JSON.
const Command = "fleet"

// said is a line of a fleet's process: one when all sessions began, then every look, and one for each line that it is told.
type said struct {
	Ready    bool   `json:"ready,omitempty"`
	Finished int64  `json:"finished"`
	Stats    *Stats `json:"stats,omitempty"`
}

const look = 20 * time.Millisecond

// Main is a fleet's process: it ends with its standard input.
func Main(ctx context.Context, config string, in io.Reader, out io.Writer) error {
	var c Config
	if err := json.Unmarshal([]byte(config), &c); err != nil {
		return fmt.Errorf("fleet: %w", err)
	}
	f, err := Start(ctx, c)
	if err != nil {
		return err
	}
	defer f.Close()
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		for lines := bufio.NewScanner(in); lines.Scan(); {
			asked <- struct{}{}
		}
	}()
	enc := json.NewEncoder(out)
	say := said{Ready: true}
	for tick := time.NewTicker(look); ; {
		say.Finished = f.Finished()
		if err := enc.Encode(say); err != nil {
			return err
		}
		say = said{}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case _, more := <-asked:
			if !more {
				return nil
			}
			s := f.Stats()
			say.Stats = &s
		}
	}
}

// Process is a fleet in a process of its own.
type Process struct {
	cmd      *exec.Cmd
	in       io.WriteCloser
	finished atomic.Int64
	moved    chan struct{}
	stats    chan Stats
	// ended is closed when the process says nothing more; err is why.
	ended chan struct{}
	err   error
}

// Run starts this program again as a fleet, and returns when all its sessions have begun.
func Run(ctx context.Context, c Config) (*Process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	config, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	p := &Process{cmd: exec.CommandContext(ctx, self, Command, string(config)), moved: make(chan struct{}, 1), stats: make(chan Stats, 1), ended: make(chan struct{})} //nolint:gosec // ourselves
	p.cmd.Stderr = os.Stderr
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	ready := make(chan struct{})
	go p.listen(out, ready)
	select {
	case <-ready:
		return p, nil
	case <-p.ended:
		return nil, fmt.Errorf("fleet: it ended before it was ready: %w", errors.Join(p.err, p.cmd.Wait()))
	}
}

func (p *Process) listen(out io.Reader, ready chan<- struct{}) {
	for dec := json.NewDecoder(out); ; {
		var s said
		if err := dec.Decode(&s); err != nil {
			p.err = err
			close(p.ended)
			close(p.moved)
			return
		}
		p.finished.Store(s.Finished)
		if s.Ready {
			close(ready)
		}
		if s.Stats != nil {
			p.stats <- *s.Stats
		}
		select {
		case p.moved <- struct{}{}:
		default:
		}
	}
}

// Finished is how many jobs the fleet has finished, as it said a moment ago.
func (p *Process) Finished() int64 { return p.finished.Load() }

// Moved gets a value now and then when Finished may have grown; it is closed when the process has ended.
func (p *Process) Moved() <-chan struct{} { return p.moved }

// Stats returns what was done since the last call.
func (p *Process) Stats() (Stats, error) {
	if _, err := io.WriteString(p.in, "stats\n"); err != nil {
		return Stats{}, fmt.Errorf("fleet: %w", err)
	}
	select {
	case s := <-p.stats:
		if s.Error != "" {
			return s, errors.New(s.Error)
		}
		return s, nil
	case <-p.ended:
		return Stats{}, fmt.Errorf("fleet: it has ended: %w", p.err)
	}
}

// PID of the process.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Close ends the process.
func (p *Process) Close() error {
	_ = p.in.Close()
	<-p.ended
	return p.cmd.Wait()
}

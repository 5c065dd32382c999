package logs

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/slipway-ci/slipway/agent/commands"
)

// Declared returns a set that hides, beside the masks known, what a raw output itself declares with ::add-mask::. It is for what leaves this host
// when a step has run, but its log is not yet at its end.
func Declared(path string, masks *Masks) (*Masks, error) {
	raw, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("logs: read what an output hides: %w", err)
	}
	defer raw.Close()
	buf := pool.Get().(*buffers)
	defer pool.Put(buf)
	f := NewFilter(masks, false, func(commands.Command) {})
	for {
		n, err := raw.Read(buf.in)
		f.Write(buf.out[:0], buf.in[:n])
		switch {
		case errors.Is(err, io.EOF):
			f.Close(buf.out[:0])
			if f.own {
				f.mask.masks.link()
			}
			return f.mask.masks, nil
		case err != nil:
			return nil, fmt.Errorf("logs: read what an output hides: %w", err)
		}
	}
}

package console

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// input reads a file until it is told to stop: what is typed after that is not its to take.
type input struct {
	f          *os.File
	stop, wake *os.File
}

func newInput(f *os.File) (*input, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	return &input{f: f, stop: r, wake: w}, nil
}

// Read implements io.Reader.
func (i *input) Read(b []byte) (int, error) {
	fds := []unix.PollFd{{Fd: int32(i.stop.Fd()), Events: unix.POLLIN}, {Fd: int32(i.f.Fd()), Events: unix.POLLIN}}
	for {
		_, err := unix.Poll(fds, -1)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return 0, err
		case fds[0].Revents != 0:
			return 0, io.EOF
		}
		return i.f.Read(b)
	}
}

// end stops it.
func (i *input) end() { _ = i.wake.Close() }

package proto

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// MaxFrame bounds a frame, in bytes. A step's environment and arguments are limited by the kernel to less.
const MaxFrame = 8 << 20

// ErrTooLarge: a message is over MaxFrame.
var ErrTooLarge = errors.New("proto: message too large")

// maxFiles is the most descriptors that one frame carries.
const maxFiles = 16

// Conn exchanges messages over a unix stream socket. A frame is a big-endian 32-bit length and that many bytes of JSON;
// descriptors ride on its first byte. Reads belong to one goroutine; writes may come from several.
type Conn struct {
	unix *net.UnixConn
	mu   sync.Mutex
}

// NewConn wraps a connected socket.
func NewConn(c *net.UnixConn) *Conn { return &Conn{unix: c} }

// Close closes the socket; a blocked Receive returns.
func (c *Conn) Close() error { return c.unix.Close() }

// Send writes one message and hands over copies of files; the caller keeps its own.
func (c *Conn) Send(m *Message, files ...*os.File) error { return c.send(0, m, files) }

// SendWithin is Send for a peer that may be stopped: it fails when the peer has not taken the message in time. The connection is of no
// use then.
func (c *Conn) SendWithin(patience time.Duration, m *Message) error { return c.send(patience, m, nil) }

func (c *Conn) send(patience time.Duration, m *Message, files []*os.File) error {
	body, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encoding a %s message: %w", m.Type, err)
	}
	if len(body) > MaxFrame {
		return fmt.Errorf("%w: %s with %d bytes, at most %d", ErrTooLarge, m.Type, len(body), MaxFrame)
	}
	frame := append(binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(body)), uint32(len(body))), body...)
	var oob []byte
	if len(files) > 0 {
		fds := make([]int, len(files))
		for i, f := range files {
			fds[i] = int(f.Fd())
		}
		oob = unix.UnixRights(fds...)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if patience > 0 {
		if err := c.unix.SetWriteDeadline(time.Now().Add(patience)); err != nil {
			return fmt.Errorf("sending %s: %w", m.Type, err)
		}
		defer c.unix.SetWriteDeadline(time.Time{}) //nolint:errcheck // of a connection that just took the other deadline
	}
	n, _, err := c.unix.WriteMsgUnix(frame, oob, nil)
	if err == nil && n < len(frame) {
		_, err = c.unix.Write(frame[n:])
	}
	if err != nil {
		return fmt.Errorf("sending %s: %w", m.Type, err)
	}
	return nil
}

// Receive reads one message and its descriptors, which the caller must close. io.EOF when the peer has closed between
// frames.
func (c *Conn) Receive() (*Message, []*os.File, error) {
	var head [4]byte
	oob := make([]byte, unix.CmsgSpace(4*maxFiles))
	n, oobn, flags, _, err := c.unix.ReadMsgUnix(head[:], oob)
	if err != nil {
		return nil, nil, err
	}
	files, err := rights(oob[:oobn], flags)
	if err != nil {
		return nil, nil, err
	}
	m, err := c.body(head, n)
	if err != nil {
		closeAll(files)
		return nil, nil, err
	}
	return m, files, nil
}

func (c *Conn) body(head [4]byte, got int) (*Message, error) {
	if got == 0 {
		return nil, io.EOF
	}
	if _, err := io.ReadFull(c.unix, head[got:]); err != nil {
		return nil, fmt.Errorf("reading a frame's length: %w", err)
	}
	size := binary.BigEndian.Uint32(head[:])
	if size > MaxFrame {
		return nil, fmt.Errorf("%w: a frame of %d bytes, at most %d", ErrTooLarge, size, MaxFrame)
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(c.unix, body); err != nil {
		return nil, fmt.Errorf("reading a frame: %w", err)
	}
	m := new(Message)
	if err := json.Unmarshal(body, m); err != nil {
		return nil, fmt.Errorf("decoding a frame: %w", err)
	}
	return m, nil
}

// rights turns control data into files that children don't inherit.
func rights(oob []byte, flags int) ([]*os.File, error) {
	if len(oob) == 0 {
		return nil, nil
	}
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, fmt.Errorf("parsing control data: %w", err)
	}
	var files []*os.File
	for i := range msgs {
		fds, err := unix.ParseUnixRights(&msgs[i])
		if err != nil {
			continue // other control data carries no descriptors
		}
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			files = append(files, os.NewFile(uintptr(fd), "received"))
		}
	}
	if flags&unix.MSG_CTRUNC != 0 {
		closeAll(files)
		return nil, errors.New("more descriptors than a frame may carry")
	}
	return files, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}

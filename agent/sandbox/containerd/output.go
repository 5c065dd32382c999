package containerd

import (
	"os"
	"path/filepath"

	"github.com/containerd/containerd/v2/pkg/cio"
)

// outputTo appends a process's stdout and stderr to a file, which the shim writes, so that it outlives the agent.
//
// Not cio.LogFile: for one name on both streams, shims (1.6 to 2.4) open the file once and close it when stdout ends, and what
// they have not copied of stderr by then is gone: often the very line that says why a process ended. A path without a scheme that is
// no FIFO is opened for each stream, and with two spellings of it the shim does not take them for one.
func outputTo(path string) cio.Creator {
	return func(string) (cio.IO, error) {
		file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return nil, err
		}
		if err := file.Close(); err != nil {
			return nil, err
		}
		dir, name := filepath.Split(path)
		return cio.Load(cio.NewFIFOSet(cio.Config{Stdout: path, Stderr: dir + "./" + name}, nil))
	}
}

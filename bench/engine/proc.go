package engine

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// tick is what proc(5) counts processor time in: USER_HZ is 100 wherever Linux runs Go.
const tick = 10 * time.Millisecond

// cpus are the processor times that this process and another have used.
func cpus(pid int) (own, other time.Duration, err error) {
	if own, err = cpu(os.Getpid()); err != nil {
		return 0, 0, err
	}
	other, err = cpu(pid)
	return own, other, err
}

func cpu(pid int) (time.Duration, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The second field is a name in parentheses, which may hold anything.
	fields := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
	user, err := strconv.ParseInt(fields[11], 10, 64)
	if err != nil {
		return 0, err
	}
	system, err := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * tick, err
}

// resident memory of this process, in bytes.
func resident() (int64, error) {
	data, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, err
	}
	pages, err := strconv.ParseInt(strings.Fields(string(data))[1], 10, 64)
	return pages * int64(os.Getpagesize()), err
}

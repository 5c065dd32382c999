package supervisor

import (
	"bytes"
	"os"
	"strconv"
)

// process is what /proc/PID/stat says of one (proc(5)).
type process struct {
	pid, ppid, pgid, sid int
	zombie               bool
}

// processes lists what runs in this PID namespace. One that ends meanwhile is left out.
func processes() map[int]process {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	all := make(map[int]process, len(names))
	for _, name := range names {
		if name[0] < '1' || name[0] > '9' {
			continue
		}
		data, err := os.ReadFile("/proc/" + name + "/stat")
		if err != nil {
			continue
		}
		if p, ok := parseStat(data); ok {
			all[p.pid] = p
		}
	}
	return all
}

// parseStat reads "pid (comm) state ppid pgrp session …"; comm may hold anything, so it ends at the last ")".
func parseStat(data []byte) (process, bool) {
	open, end := bytes.IndexByte(data, '('), bytes.LastIndexByte(data, ')')
	if open < 1 || end < open {
		return process{}, false
	}
	fields := bytes.Fields(data[end+1:])
	if len(fields) < 4 {
		return process{}, false
	}
	var n [4]int
	for i, field := range [][]byte{bytes.TrimSpace(data[:open]), fields[1], fields[2], fields[3]} {
		v, err := strconv.Atoi(string(field))
		if err != nil {
			return process{}, false
		}
		n[i] = v
	}
	state := fields[0][0]
	return process{pid: n[0], ppid: n[1], pgid: n[2], sid: n[3], zombie: state == 'Z' || state == 'X'}, true
}

// sessionsNow returns the sessions that exist, to tell a step's later from earlier steps' leftovers.
func sessionsNow() map[int]bool {
	sids := map[int]bool{}
	for _, p := range processes() {
		if !p.zombie {
			sids[p.sid] = true
		}
	}
	return sids
}

// members returns the live processes below root that belong to the step with the given leader: those of its session, and
// those of any session younger than the step whose ancestors are not of an older one.
func members(root, leader int, older map[int]bool) []process {
	all := processes()
	var out []process
	for _, p := range all {
		if p.zombie || p.pid == root {
			continue
		}
		if p.sid == leader || (!older[p.sid] && youngerAncestry(all, p, root, older)) {
			out = append(out, p)
		}
	}
	return out
}

// youngerAncestry is whether p descends from root and through no process of an older session.
func youngerAncestry(all map[int]process, p process, root int, older map[int]bool) bool {
	for range len(all) {
		if p.ppid == root {
			return true
		}
		parent, ok := all[p.ppid]
		if !ok || older[parent.sid] {
			return false
		}
		p = parent
	}
	return false
}

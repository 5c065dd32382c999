package engine

import (
	"fmt"
	"net/url"
	"strings"
)

// Keys below /slipway/v1/. See state.proto for their values.
const (
	root        = "/slipway/v1/"
	runPrefix   = root + "run/"
	defPrefix   = root + "def/"
	jobPrefix   = root + "job/"
	livePrefix  = root + "live/"
	newPrefix   = root + "newest/"
	numPrefix   = root + "num/"
	againPrefix = root + "again/"
	reqPrefix   = root + "req/"
	agentPrefix = root + "agent/"
	// chainPrefix is written by coordinator/archive.
	chainPrefix = root + "chain/"
	// removedPrefix is read by coordinator/identity, too.
	removedPrefix = root + "removed/"
)

func runKey(id string) string       { return runPrefix + id }
func defKey(id string) string       { return defPrefix + id }
func jobKey(run, job string) string { return jobPrefix + run + "/" + job }
func jobsPrefix(run string) string  { return jobPrefix + run + "/" }
func liveKey(run string) string     { return livePrefix + run }
func reqKey(id string) string       { return reqPrefix + url.PathEscape(id) }
func agentKey(id string) string     { return agentPrefix + url.PathEscape(id) }
func removedKey(id string) string   { return removedPrefix + url.PathEscape(id) }

// newestKey sorts the newest run first: a range in ascending order is then a listing.
func newestKey(run string) string { return newPrefix + invert(run) }

// maxNumber is more runs than a project can have; numbers are counted down from it, so that the newest comes first.
const maxNumber = 999_999_999_999

func numProject(project string) string { return numPrefix + url.PathEscape(project) + "/" }

func numKey(project string, number uint64) string {
	return fmt.Sprintf("%s%012d", numProject(project), maxNumber-min(number, maxNumber))
}

// againProject and againKey are where a run's later attempts are found, the newest first.
func againRun(project string, number uint64) string {
	return fmt.Sprintf("%s%s/%012d/", againPrefix, url.PathEscape(project), number)
}

func againKey(project string, number uint64, attempt uint32) string {
	return fmt.Sprintf("%s%06d", againRun(project, number), maxAttempts-min(attempt, maxAttempts))
}

// numOf reads a project and number from a key of numKey.
func numOf(key string) (project string, number uint64, ok bool) {
	escaped, digits, found := strings.Cut(strings.TrimPrefix(key, numPrefix), "/")
	project, err := url.PathUnescape(escaped)
	var inverse uint64
	if _, scanErr := fmt.Sscanf(digits, "%d", &inverse); !found || err != nil || scanErr != nil || inverse > maxNumber {
		return "", 0, false
	}
	return project, maxNumber - inverse, true
}

const base32 = "0123456789abcdefghjkmnpqrstvwxyz"

// invert maps each digit of a ULID to its complement, so that the order is reversed. It is its own inverse.
func invert(ulid string) string {
	return strings.Map(func(r rune) rune {
		if i := strings.IndexRune(base32, r); i >= 0 {
			return rune(base32[len(base32)-1-i])
		}
		return r
	}, ulid)
}

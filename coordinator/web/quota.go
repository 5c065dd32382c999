package web

import "sync"

// quota bounds what is done at once, in all and for each user. Safe for concurrent use.
type quota struct {
	most, mostEach int

	mu   sync.Mutex
	all  int
	each map[string]int
}

func newQuota(most, mostEach int) *quota {
	return &quota{most: most, mostEach: mostEach, each: map[string]int{}}
}

// take returns false if there is no room; else release gives it back.
func (q *quota) take(user string) (release func(), ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.all >= q.most || q.each[user] >= q.mostEach {
		return nil, false
	}
	q.all++
	q.each[user]++
	return func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.all--
		if q.each[user]--; q.each[user] == 0 {
			delete(q.each, user)
		}
	}, true
}

package mover_test

import (
	"fmt"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task"
)

// redisCLI returns a component of Redis' client.
func (p *pod) redisCLI(s *databaseServer, args ...string) task.Component {
	c := streamOf(p, "redis-cli", append([]string{"-h", "127.0.0.1", "-p", s.port}, args...)...)
	c.Stream.Env = []v1alpha1.StreamEnv{{Name: "REDISCLI_AUTH", SecretKey: "password"}}
	return c
}

// fill makes keys of every type and encoding, in several databases.
func fill(s *databaseServer) {
	s.t.Helper()
	text := func(n int) string { return strings.Repeat("compressible ", n) }
	for _, line := range [][]string{
		{"-n", "0", "SET", "plain", "value"},
		{"-n", "0", "SET", "number", "-12345"},
		{"-n", "0", "SET", "bytes", "\r\n$\xff*1"},
		{"-n", "0", "SET", "", "the empty key"},
		{"-n", "0", "SET", "compressed", text(1000)},
		{"-n", "0", "SETBIT", "bits", "100000", "1"},
		{"-n", "0", "SET", "expires", "x", "PXAT", "4102444800123"},
		{"-n", "0", "PFADD", "hll", "a", "b", "c"},
		{"-n", "0", "SADD", "ints", "1", "2", "300000"},
		{"-n", "0", "SADD", "words", "a", "b"},
		{"-n", "0", "GEOADD", "geo", "13.4", "52.5", "Berlin"},
		{"-n", "0", "ZADD", "scores", "1.5", "a", "-inf", "b", "+inf", "c"},
		{"-n", "0", "HSET", "small", "f", "v", "n", "1"},
		{"-n", "0", "HSET", "large", "f", text(100), "g", "v"},
		{"-n", "3", "RPUSH", "list", "a", "b", text(2000), "1"},
		{"-n", "3", "XADD", "stream", "1-1", "f", "v"},
		{"-n", "3", "XADD", "stream", "1-2", "f", "w"},
		{"-n", "3", "XADD", "stream", "2-1", "g", "x"},
		{"-n", "3", "XGROUP", "CREATE", "stream", "group", "0"},
		{"-n", "3", "XREADGROUP", "GROUP", "group", "reader", "COUNT", "2", "STREAMS", "stream", ">"},
		{"-n", "3", "XACK", "stream", "group", "1-1"},
		{"-n", "3", "XDEL", "stream", "1-2"},
		{"-n", "3", "SET", "plain", "of another database"},
		{"-n", "19", "SET", "last", "x"},
		{"-n", "0", "FUNCTION", "LOAD", "#!lua name=lib\nredis.register_function('f', function() return 42 end)"},
	} {
		s.must(s.redis(line...))
	}
	s.must(s.redis("-n", "7", "EVAL", `for i = 1, 2000 do
		redis.call('RPUSH', 'long list', i, string.rep('x', i)); redis.call('SADD', 'big set', 'm' .. i)
		redis.call('ZADD', 'big zset', i / 3, 'm' .. i)
		redis.call('HSET', 'big hash', 'f' .. i, i); redis.call('XADD', 'big stream', '*', 'k', i)
		redis.call('SET', 'key ' .. i, i, 'EX', 100000 + i) end
		redis.call('SET', 'two megabytes', string.rep('0123456789abcdef', 131072))`, "0"))
}

func TestRedisIsDumpedAndLoaded(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	from, to, p := startRedis(t), startRedis(t), withSecret(t)
	p.write("cairn/database/password", "hunter2secret\n")
	fill(from)
	id := p.backUp("snap-1", p.redisCLI(from, "--rdb", "-"))

	// A key of the same name is replaced, but only in its own database.
	to.must(to.redis("-n", "3", "RPUSH", "list", "of before"))
	to.must(to.redis("-n", "7", "SET", "big hash", "of another type"))
	to.must(to.redis("-n", "1", "SET", "other", "stays"))
	load := p.redisCLI(to, "--pipe")
	load.Stream.Filter = v1alpha1.StreamFilterRedisCommands
	result := p.restoreInto(id, load)
	g.Expect(result.Reason).To(Equal(v1alpha1.ReasonSucceeded), result.Message)
	g.Expect(to.redis("-n", "1", "GETDEL", "other")).To(Equal("stays\n"))
	digest := from.must(from.redis("DEBUG", "DIGEST"))
	g.Expect(to.redis("DEBUG", "DIGEST")).To(Equal(digest), "the servers hold the same")
	for _, look := range [][]string{
		{"INFO", "keyspace"},
		{"-n", "0", "PEXPIRETIME", "expires"},
		{"-n", "7", "EXPIRETIME", "key 77"},
		{"FUNCTION", "LIST", "WITHCODE"},
		{"FCALL", "f", "0"},
		{"-n", "3", "XINFO", "STREAM", "stream", "FULL"},
		{"-n", "0", "GET", "bytes"},
		{"-n", "0", "GET", ""},
		{"-n", "0", "PFCOUNT", "hll"},
	} {
		want, got := from.must(from.redis(look...)), to.must(to.redis(look...))
		if look[0] == "INFO" { // the average of what is left to live runs
			want, got = withoutAverage(want), withoutAverage(got)
		}
		g.Expect(got).To(Equal(want), "%q", look)
	}
	result = p.restoreInto(id, load)
	g.Expect(result.Reason).To(Equal(v1alpha1.ReasonSucceeded), "a second time: %s", result.Message)
	g.Expect(to.redis("DEBUG", "DIGEST")).To(Equal(digest))

	// A server that refuses some of the commands.
	to.must(to.redis("CONFIG", "SET", "maxmemory", "1"))
	result = p.restoreInto(id, load)
	g.Expect(result.Reason).To(Equal(v1alpha1.ReasonLoadFailed))
	g.Expect(result.Message).
		To(And(ContainSubstring("redis-cli ended with exit code 1"), ContainSubstring("OOM command not allowed")))
	p.secretIsNowhere("hunter2secret")
}

func withoutAverage(info string) string {
	var out []string
	for line := range strings.Lines(info) {
		before, _, _ := strings.Cut(line, ",avg_ttl")
		out = append(out, before)
	}
	return strings.Join(out, "\n")
}

func TestARedisDumpThatBreaksOffIsNone(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	s, p := startRedis(t), withSecret(t)
	p.write("cairn/database/password", "hunter2secret\n")
	value := filler(1_200_000)
	for n := range 60 { // at once a command line would be too long
		out, err := s.client([]string{"REDISCLI_AUTH=hunter2secret"}, value, "redis-cli", "-p", s.port, "-x", "SET",
			fmt.Sprint("large", n))
		g.Expect(err).NotTo(HaveOccurred(), out)
	}
	s.must(s.redis("CONFIG", "SET", "rdbcompression", "no"))
	dump := p.redisCLI(s, "--rdb", "-")
	busy := func() (string, error) {
		out, err := s.redis("INFO", "replication")
		return fmt.Sprint(strings.Count(out, "state=send_bulk") + strings.Count(out, "state=wait_bgsave")), err
	}
	p.breaksOff("redis-cli", dump, busy, map[string]func(){
		"the program is killed":         func() { p.killChild("redis-cli") },
		"the server ends the session":   func() { s.must(s.redis("CLIENT", "KILL", "TYPE", "replica")) },
		"the server is killed, at last": s.kill,
	})
	_, result := p.run(t.Context(), backupTask("late", dump))
	g.Expect(result.Reason).To(Equal(v1alpha1.ReasonDumpFailed))
	p.secretIsNowhere("hunter2secret")
}

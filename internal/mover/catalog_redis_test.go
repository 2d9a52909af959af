package mover_test

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// TestRedisTasks runs the tasks of redis-addon, as the catalog has them, with each parameter.
func TestRedisTasks(t *testing.T) {
	t.Parallel()
	s, p := startRedis(t), withSecret(t)
	fill(s)
	digest := s.must(s.redis("DEBUG", "DIGEST"))
	const password = "hunter2secret"
	p.login("password", password)
	base := catalogTask{addon: "redis-addon", server: s}
	made := base.backedUp(p, "made")

	t.Run("into another server, twice", func(t *testing.T) {
		g := NewWithT(t)
		to := startRedis(t)
		base.on(to).restored(p, made)
		g.Expect(to.redis("DEBUG", "DIGEST")).To(Equal(digest))
		result := base.on(to).restore(p, made)
		g.Expect(result.Reason).To(Equal(v1alpha1.ReasonVolumeNotEmpty), result.Message)
		to.must(to.redis("SET", "plain", "another"))
		base.on(to).confirmed().restored(p, made)
		g.Expect(to.redis("DEBUG", "DIGEST")).To(Equal(digest))
	})

	t.Run("into a server without the room", func(t *testing.T) {
		g := NewWithT(t)
		to := startRedis(t, "--maxmemory", "4mb", "--maxmemory-policy", "allkeys-lru")
		result := base.on(to).restore(p, made)
		g.Expect(result).To(And(HaveField("Reason", v1alpha1.ReasonVerificationFailed),
			HaveField("Message", MatchRegexp("the server evicted [0-9]+ keys: raise its maxmemory"))))
		to.must(to.redis("CONFIG", "SET", "maxmemory", "100mb"))
		base.on(to).confirmed().restored(p, made)
		g.Expect(to.redis("DEBUG", "DIGEST")).To(Equal(digest), "what went before counts for no later restore")
	})

	t.Run("another user", func(t *testing.T) {
		g := NewWithT(t)
		to := startRedis(t)
		for _, server := range []*databaseServer{s, to} {
			server.must(server.redis("ACL", "SETUSER", "keeper", "on", ">of the keeper", "+@all", "~*"))
		}
		to.must(to.redis("ACL", "SETUSER", "reader", "on", ">of the reader", "+@read", "+@connection", "+info", "~*"))
		defer p.login("password", password)
		p.login("password", "of the keeper")
		g.Expect(base.backup(p, "default")).
			To(HaveField("Reason", v1alpha1.ReasonDumpFailed), "it is not the password of default")
		again := base.with("user", "keeper").backedUp(p, "keeper")
		p.login("password", "of the reader")
		result := base.on(to).with("user", "reader").restore(p, again)
		g.Expect(result.Reason).To(Equal(v1alpha1.ReasonLoadFailed))
		g.Expect(result.Message).To(
			And(ContainSubstring("NOPERM"), HavePrefix("the database can hold a part of the dump now: ")))
		p.login("password", "of the keeper")
		base.on(to).with("user", "keeper").restored(p, again)
		g.Expect(to.redis("DEBUG", "DIGEST")).To(Equal(digest))
	})

	t.Run("a password that is wrong, or none", func(t *testing.T) {
		to := startRedis(t)
		defer p.login("password", password)
		for says, secret := range map[string][]string{
			"WRONGPASS": {"password", "of another"}, "NOAUTH": {"username", "x"},
		} {
			g := NewWithT(t)
			p.login(secret...)
			result := base.backup(p, says)
			g.Expect(result.Reason).To(Equal(v1alpha1.ReasonDumpFailed), says)
			g.Expect(result.Message).To(And(ContainSubstring(says), ContainSubstring("the server refuses the login")))
			result = base.on(to).restore(p, made)
			g.Expect(result.Reason).To(Equal(v1alpha1.ReasonLoadFailed),
				"a database that can't be asked counts neither as empty nor as full")
			g.Expect(result.Message).To(And(ContainSubstring(says), ContainSubstring("the server refuses the login")))
			result = base.on(to).confirmed().restore(p, made)
			g.Expect(result.Reason).To(Equal(v1alpha1.ReasonLoadFailed), says)
			g.Expect(result.Message).To(And(ContainSubstring(says), ContainSubstring("the server refuses the login")))
			g.Expect(result.Components[0].TargetUntouched).To(BeTrue(), "no program has begun to write")
		}
		NewWithT(t).Expect(to.redis("DBSIZE")).To(Equal("0\n"))
	})

	t.Run("a login that fails where everybody may ask", func(t *testing.T) {
		to := startRedis(t)
		to.must(to.redis("ACL", "SETUSER", "keeper", "on", ">of the keeper", "+@all", "~*"))
		to.must(to.redis("CONFIG", "SET", "requirepass", ""))
		defer p.login("password", password)
		p.login("password", "of another")
		for says, c := range map[string]catalogTask{
			"WRONGPASS":                       base.on(to).with("user", "keeper"),
			"without any password configured": base.on(to),
		} {
			for _, c := range []catalogTask{c, c.confirmed()} {
				g, result := NewWithT(t), c.restore(p, made)
				g.Expect(result.Reason).To(Equal(v1alpha1.ReasonLoadFailed), says)
				g.Expect(result.Message).To(ContainSubstring("the server refuses the login"))
				g.Expect(result.Message).To(ContainSubstring(says))
				g.Expect(result.Components[0].TargetUntouched).To(BeTrue(), "no program has begun to write")
			}
		}
	})

	t.Run("a server in protected mode", func(t *testing.T) {
		to := startRedis(t, "--bind", "0.0.0.0", "--protected-mode", "yes")
		to.must(to.redis("CONFIG", "SET", "requirepass", ""))
		defer p.login("password", password)
		for _, login := range [][]string{nil, {"password", password}} {
			p.login(login...)
			for _, c := range []catalogTask{base.on(to), base.on(to).confirmed()} {
				c.host = ownAddress(t)
				g, result := NewWithT(t), c.restore(p, made)
				g.Expect(result.Reason).To(Equal(v1alpha1.ReasonLoadFailed), "nobody knows what it holds")
				// The client can be cut off before it reads why.
				g.Expect(result.Message).To(Or(ContainSubstring("protected mode"), ContainSubstring("onnection")))
				g.Expect(result.Message).NotTo(ContainSubstring("refuses the login"))
				g.Expect(result.Components[0].TargetUntouched).To(BeTrue())
			}
		}
	})

	t.Run("a server without a connection left", func(t *testing.T) {
		to := startRedis(t)
		to.must(to.redis("CONFIG", "SET", "maxclients", "1"))
		NewWithT(t).Eventually(func(g Gomega) {
			taken, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", to.port))
			g.Expect(err).NotTo(HaveOccurred())
			t.Cleanup(func() { _ = taken.Close() })
			_, err = taken.Write([]byte("PING\r\n"))
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(bufio.NewReader(taken).ReadString('\n')).To(HavePrefix("-NOAUTH"))
		}).WithTimeout(time.Minute).Should(Succeed(), "the only connection is taken")
		for _, does := range []func() string{
			func() string { return base.on(to).backup(p, "full").Message },
			func() string { return base.on(to).restore(p, made).Message },
			func() string { return base.on(to).confirmed().restore(p, made).Message },
		} {
			NewWithT(t).Eventually(func(g Gomega) {
				says := does()
				g.Expect(says).NotTo(ContainSubstring("refuses the login"))
				g.Expect(says).To(ContainSubstring("max number of clients reached"))
			}).WithTimeout(time.Minute).Should(Succeed(), "the client can be cut off before it reads why")
		}
	})

	t.Run("a user that may not ask", func(t *testing.T) {
		to := startRedis(t)
		to.must(to.redis("ACL", "SETUSER", "writer", "on", ">of the writer", "+@write", "+@connection", "~*"))
		defer p.login("password", password)
		p.login("password", "of the writer")
		for _, c := range []catalogTask{base.on(to), base.on(to).confirmed()} {
			g, result := NewWithT(t), c.with("user", "writer").restore(p, made)
			g.Expect(result.Reason).To(Equal(v1alpha1.ReasonLoadFailed), "nobody would see what the server evicts")
			g.Expect(result.Message).To(ContainSubstring("+info"))
			g.Expect(result.Components[0].TargetUntouched).To(BeTrue())
		}
		to.must(to.redis("ACL", "SETUSER", "writer", "+info"))
		base.on(to).with("user", "writer").restored(p, made)
		NewWithT(t).Expect(to.redis("DEBUG", "DIGEST")).To(Equal(digest), "that is all that a restore needs")
	})

	t.Run("a file of another version, or none", func(t *testing.T) {
		good := p.content(made.Components[0].ID)
		to := startRedis(t)
		for name, tc := range map[string]struct{ content, says string }{
			"newer than the server": {good[:5] + "9999" + good[9:], "its checksum is wrong"},
			"cut off":               {good[:len(good)/2], "it ends too early"},
			"no RDB file":           {"-- MariaDB dump", "its header is wrong"},
		} {
			g := NewWithT(t)
			file := filepath.Join(t.TempDir(), "dump.rdb")
			g.Expect(os.WriteFile(file, []byte(tc.content), 0o600)).To(Succeed())
			id := p.backUp(name, dumpOf("cat "+file))
			result := p.restoreInto(id, base.on(to).components(p, true, "dump")[0])
			g.Expect(result.Reason).To(Equal(v1alpha1.ReasonLoadFailed), name)
			g.Expect(result.Message).To(ContainSubstring(tc.says))
			to.must(to.redis("FLUSHALL"))
		}
	})

	t.Run("further arguments", func(t *testing.T) {
		g := NewWithT(t)
		g.Expect(base.with("args", "--no-such-option").backup(p, "bad")).
			To(And(HaveField("Reason", v1alpha1.ReasonDumpFailed),
				HaveField("Message", ContainSubstring("'--no-such-option'"))))
		base.with("args", "-n 3 --verbose").backedUp(p, "good")
	})
	p.secretIsNowhere(password)
}

// Each node of a Redis Cluster holds a part of the keys.
func TestANodeOfARedisClusterIsBackedUpOnPurposeOnly(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	a, b, p := startRedis(t, "--cluster-enabled", "yes"), startRedis(t, "--cluster-enabled", "yes"), withSecret(t)
	p.login("password", "hunter2secret")
	a.must(a.redis("CLUSTER", "ADDSLOTSRANGE", "0", "8191"))
	b.must(b.redis("CLUSTER", "ADDSLOTSRANGE", "8192", "16383"))
	a.must(a.redis("CLUSTER", "MEET", "127.0.0.1", b.port))
	for _, s := range []*databaseServer{a, b} {
		g.Eventually(func() (string, error) { return s.redis("CLUSTER", "INFO") }).WithTimeout(time.Minute).
			Should(And(ContainSubstring("cluster_state:ok"), ContainSubstring("cluster_known_nodes:2")))
	}
	for i := range 20 {
		key := fmt.Sprintf("customer-%02d", i)
		if _, err := a.redis("SET", key, "x"); err != nil {
			b.must(b.redis("SET", key, "x"))
		}
	}
	base := catalogTask{addon: "redis-addon", server: a}
	for name, task := range map[string]catalogTask{"default": base, "false": base.with("clusterNode", "false")} {
		g.Expect(task.backup(p, name)).To(And(HaveField("Reason", v1alpha1.ReasonDumpFailed),
			HaveField("Message", ContainSubstring("the server is a node of a Redis Cluster"))))
	}
	made := base.with("clusterNode", "true").backedUp(p, "true")
	text, held := p.content(made.Components[0].ID), a.must(a.redis("KEYS", "*"))
	for i := range 20 {
		key := fmt.Sprintf("customer-%02d", i)
		g.Expect(strings.Contains(text, key)).To(Equal(slices.Contains(strings.Fields(held), key)), key)
	}
}

// A user who is not allowed to ask can't tell either.
func TestARedisUserWhoSeesNoClusterMakesNoBackup(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	s, p := startRedis(t), withSecret(t)
	s.must(s.redis("SET", "key", "value"))
	s.must(s.redis("ACL", "SETUSER", "keeper", "on", ">of the keeper", "+sync", "+psync", "+replconf"))
	p.login("password", "of the keeper")
	base := catalogTask{addon: "redis-addon", server: s}
	g.Expect(base.with("user", "keeper").backup(p, "refused")).
		To(And(HaveField("Reason", v1alpha1.ReasonDumpFailed), HaveField("Message", ContainSubstring("+info"))))
	base.with("user", "keeper", "clusterNode", "true").backedUp(p, "on purpose")
	s.must(s.redis("ACL", "SETUSER", "keeper", "+info"))
	base.with("user", "keeper").backedUp(p, "allowed")
}

// An answer that is no answer says nothing about a cluster either.
func TestARedisServerThatDoesNotSayWhetherItIsInAClusterIsNotBackedUp(t *testing.T) {
	t.Parallel()
	p := withSecret(t)
	p.login("password", "hunter2secret")
	renamed, busy := startRedis(t, "--rename-command", "INFO", "HIDDEN"), startRedis(t, "--busy-reply-threshold", "1")
	renamed.must(renamed.redis("SET", "a", "1"))
	loop := exec.Command(databaseProgram(t, "redis-cli"), "-p", busy.port, "EVAL", "while true do end", "0")
	loop.Env = append(os.Environ(), "REDISCLI_AUTH=hunter2secret")
	NewWithT(t).Expect(loop.Start()).To(Succeed())
	defer func() { _ = loop.Process.Kill(); _ = loop.Wait() }()
	NewWithT(t).Eventually(func() error { _, err := busy.redis("GET", "x"); return err }).WithTimeout(time.Minute).
		Should(MatchError(ContainSubstring("BUSY")))
	for says, s := range map[string]*databaseServer{"ERR unknown command": renamed, "BUSY": busy} {
		NewWithT(t).Expect(catalogTask{addon: "redis-addon", server: s}.backup(p, says)).
			To(And(HaveField("Reason", v1alpha1.ReasonDumpFailed), HaveField("Message", And(ContainSubstring(says),
				ContainSubstring("does not say whether it is a node of a Redis Cluster")))))
	}
	catalogTask{addon: "redis-addon", server: renamed}.with("clusterNode", "true").backedUp(p, "on purpose")
}

// ownAddress returns an address of this machine that is not a loopback one.
func ownAddress(t *testing.T) string {
	t.Helper()
	addresses, err := net.InterfaceAddrs()
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	for _, a := range addresses {
		if n, ok := a.(*net.IPNet); ok && !n.IP.IsLoopback() && n.IP.To4() != nil {
			return n.IP.String()
		}
	}
	t.Skip("this machine has only the loopback interface, from which Redis in protected mode takes commands")
	return ""
}

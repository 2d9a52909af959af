package statement_test

import (
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/mover/statement"
)

func TestTheLongestStatementOfADump(t *testing.T) {
	t.Parallel()
	row := "(1,0x" + strings.Repeat("00FF", 50) + ")"
	for name, tc := range map[string]struct {
		dump string
		want int
	}{
		"nothing":               {"", 0},
		"comments":              {"-- a long comment about nothing\n--\n\n", 0},
		"one line":              {"SET a = 1;\nINSERT INTO `t` VALUES " + row + ";\nSET b = 2;\n", 23 + len(row)},
		"a row on its own line": {"INSERT INTO `t` VALUES\n" + row + ";\n", 23 + len(row)},
		"several rows":          {"INSERT INTO `t` VALUES\n(1),\n" + row + ",\n(3);\nSET b = 2;\n", 28 + len(row) + 5},
		"after a comment":       {"--\n-- Data\n--\n\nSET a = 1;\n", 9},
		"a comment inside":      {"CREATE TABLE t (\n-- why\n\n  n int\n);\n", 34},
		"cut off":               {"SET a = 1;\nINSERT INTO t VALUES (1", 23},
		"a trigger": {
			"DELIMITER ;;\nCREATE TRIGGER x BEGIN\n  SET a = 1;\n  SET b = 22;\nEND */;;\nDELIMITER ;\n", 34,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			for _, size := range []int{1, 2, 7, 1 << 20} {
				var l statement.Longest
				for rest := []byte("-- MariaDB dump 10\n" + tc.dump); len(rest) > 0; {
					n, err := l.Write(rest[:min(size, len(rest))])
					g.Expect(err).NotTo(HaveOccurred())
					rest = rest[n:]
				}
				g.Expect(l.Bytes()).To(BeEquivalentTo(tc.want), "in parts of %d", size)
			}
		})
	}
}

// SQL is also what other programs write, with rows that have no semicolon.
func TestADumpOfAnotherProgramHasNoLongestStatement(t *testing.T) {
	t.Parallel()
	for dump, measured := range map[string]bool{
		"--\n-- PostgreSQL database dump\n--\n\nCOPY t (n) FROM stdin;\n1\n2\n": false,
		"PRAGMA foreign_keys=OFF;\n":                  false,
		"-- MySQL dump 10.13\n\nSET a = 1;\n":         true,
		"/*M!999999\\- enable the sandbox mode */ \n": true,
		"/*!40101 SET NAMES utf8 */;\n":               true,
	} {
		var l statement.Longest
		_, err := l.Write([]byte(dump))
		NewWithT(t).Expect(err).NotTo(HaveOccurred())
		NewWithT(t).Expect(l.Bytes() > 0).To(Equal(measured), dump)
	}
}

func TestTheLimitOfAServer(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]int64{
		"# max_allowed_packet 16777216":    16 << 20,
		" # max_allowed_packet 16777216\r": 16 << 20,
		"# max_allowed_packet NULL":        0,
		"# max_allowed_packet -1":          0,
		"# max_allowed_packet ":            0,
		"max_allowed_packet 1":             0,
		"1":                                0,
		"":                                 0,
	} {
		NewWithT(t).Expect(statement.Limit(line)).To(Equal(want), line)
	}
}

func TestAStatementThatAServerRefuses(t *testing.T) {
	t.Parallel()
	const limit = 16 << 20
	g := NewWithT(t)
	for _, fits := range [][2]int64{{0, limit}, {limit, 0}, {limit - 2, limit}} {
		g.Expect(statement.TooLong(fits[0], fits[1])).To(BeEmpty())
	}
	g.Expect(statement.TooLong(limit-1, limit)).To(And(ContainSubstring("server is 16.000 MiB."),
		ContainSubstring("to 17M or"), ContainSubstring("= 17825792,")))
	g.Expect(statement.TooLong(20000052, limit)).To(And(ContainSubstring("19.074 MiB long"),
		ContainSubstring("to 20M or more"), ContainSubstring("= 20971520,")))
}

func TestAStatementThatEveryServerRefuses(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	g.Expect(statement.Unfit(1<<30 - 2)).To(BeEmpty())
	g.Expect(statement.TooLong(1<<30-2, 16<<20)).To(ContainSubstring("to 1024M or more"))
	g.Expect(statement.Unfit(1<<30 - 1)).To(ContainSubstring("no server takes one of 1 GiB"))
}

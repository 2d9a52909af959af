package mariadbdump_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/mariadbdump"
)

// header is what mariadb-dump writes before anything else.
const header = "/*M!999999\\- enable the sandbox mode */ \n" +
	"-- MariaDB dump 10.19  Distrib 10.11.19-MariaDB, for debian-linux-gnu (x86_64)\n--\n" +
	"-- Host: mariadb    Database: \n-- ------------------------------------------------------\n" +
	"-- Server version\t10.11.19-MariaDB-0+deb12u1\n\n/*!40101 SET NAMES utf8mb4 */;\n"

const dump = header +
	"CREATE TABLE `plain` (\n  `id` int(11) DEFAULT NULL COMMENT 'nextval'\n) ENGINE=InnoDB;\n" +
	"LOCK TABLES `plain` WRITE;\nINSERT INTO `plain` VALUES\n(1);\nUNLOCK TABLES;\n" +
	"CREATE TABLE `orders` (\n  `id` int(11) NOT NULL DEFAULT nextval(`shop`.`ids`),\n  KEY `n` (`id`)\n) " +
	"ENGINE=InnoDB;\n" +
	"LOCK TABLES `orders` WRITE;\nINSERT INTO `orders` VALUES\n(1);\nUNLOCK TABLES;\nLOCK TABLES `other` WRITE;\n" +
	"/*!50003 DROP FUNCTION IF EXISTS `fu` */;\n/*!50003 SET sql_mode = '' */ ;\n" +
	"ALTER DATABASE `shop` CHARACTER SET latin1 ;\nDELIMITER ;;\n" +
	"CREATE DEFINER=`app`@`%` FUNCTION `fu`()\n/*!50003 DROP FUNCTION IF EXISTS `fu` */;\n" +
	"CREATE DEFINER=x ;;\nDELIMITER ;\n" +
	"/*!50003 DROP PROCEDURE IF EXISTS `lone` */;\n" +
	"/*!50003 DROP PACKAGE BODY IF EXISTS `a b-c` */;\nDELIMITER ;;\n" +
	"CREATE DEFINER=`app`@`%` PACKAGE BODY `a b-c` ;;\n" +
	"DELIMITER ;\n/*!50003 DROP PROCEDURE IF EXISTS `gone` */;\nDELIMITER ;;\n-- not allowed\n" +
	"/*!50003 DROP FUNCTION IF EXISTS `fu` */;\nCREATE DEFINER=`b` ;;\nDELIMITER ;\nCREATE DEFINER=`a` VIEW\n" +
	"/*!50003 DROP FUNCTION IF EXISTS `last` */;\nDELIMITER ;;"

// However the dump is cut into pieces, the same is changed.
func TestWhatIsChanged(t *testing.T) {
	t.Parallel()
	want := strings.NewReplacer(
		"LOCK TABLES `orders` WRITE;\n", "DO @`orders`;\n",
		"/*!50003 DROP FUNCTION IF EXISTS `fu` */;\n/*!50003 SET",
		"/*!99999 DROP FUNCTION IF EXISTS `fu` */;\n/*!50003 SET",
		"CREATE DEFINER=`app`", "CREATE OR REPLACE DEFINER=`app`",
		"/*!50003 DROP PACKAGE BODY IF EXISTS `a b-c` */;\n", "/*!99999 DROP PACKAGE BODY IF EXISTS `a b-c` */;\n",
	).Replace(dump)
	for name, size := range map[string]int{"whole": len(dump), "a byte at a time": 1, "in odd pieces": 37} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			NewWithT(t).Expect(through(t, dump, size)).To(Equal(want))
		})
	}
}

func TestWhichDumpsReplaceRoutines(t *testing.T) {
	t.Parallel()
	const routine = "/*!50003 DROP FUNCTION IF EXISTS `fu` */;\nDELIMITER ;;\nCREATE DEFINER=`a` FUNCTION"
	const replaced = "/*!99999 DROP FUNCTION IF EXISTS `fu` */;\nDELIMITER ;;\nCREATE OR REPLACE DEFINER=`a` FUNCTION"
	for first, replaces := range map[string]bool{
		header: true,
		"-- Server version\t11.8.2-MariaDB-ubu2404\n":                           true,
		"-- Server version\t10.1.48-MariaDB\n":                                  true,
		"-- Server version\t5.5.5-10.6.12-7-MariaDB-enterprise-log\n":           true,
		"-- Server version\t10.0.38-MariaDB\n":                                  false,
		"-- Server version\t5.5.68-MariaDB\n":                                   false,
		"-- MariaDB dump 10.19  Distrib 10.11.19-MariaDB\n":                     false,
		"-- MariaDB dump 10.19-11.4.2-MariaDB\n--\n-- Server version\t8.0.36\n": false,
		"SET NAMES utf8mb4;\n-- Server version\t10.11.19-MariaDB\n":             false,
		"/*!40101 SET NAMES utf8mb4 */;\n-- Server version\t10.11.19-MariaDB\n": false,
		"": false,
	} {
		want := first + routine
		if replaces {
			want = first + replaced
		}
		NewWithT(t).Expect(through(t, first+routine+"\n", 100)).To(Equal(want+"\n"), first)
	}
}

func TestWhichTablesAreLocked(t *testing.T) {
	t.Parallel()
	const sequence, lock = "CREATE TABLE `a` (\n  `id` int DEFAULT nextval(`s`.`i`)\n);\n", "LOCK TABLES `a` WRITE;\n"
	const free, body, end = "DO @`a`;\n", "DELIMITER ;;\n", "DELIMITER ;\n"
	as := strings.ReplaceAll
	const size = 64 << 10
	long := strings.Repeat("x", 3*size-len(sequence)) // the lock begins a piece of a line
	for text, want := range map[string]string{
		sequence + lock + lock:                  sequence + free + lock,
		as(sequence+lock, "nextval", "lastval"): as(sequence+free, "nextval", "lastval"),
		as(sequence+lock, "nextval", "SETVAL"):  as(sequence+free, "nextval", "SETVAL"),
		as(sequence+lock, "`a`", "`größe``*/'`"): as(sequence+free, "`a`",
			"`größe``*/'`"),
		sequence + "CREATE TABLE `b` (\n  `id` int\n);\n" + lock:           "",
		"CREATE TABLE `b` (\n  `id` int\n);\nINSERT 'nextval(`';\n" + lock: "",
		"  `id` int DEFAULT nextval(`s`.`i`)\n" + lock:                     "",
		sequence + "LOCK TABLES ``b` int,\n":                               "",
		sequence + "LOCK TABLES `a` READ;\n":                               "",
		sequence + " " + lock:                                              "",
		sequence + strings.TrimSuffix(lock, "\n") + " -- x\n":              "",
		sequence + long + lock:                                             "",
		sequence + body + lock:                                             "",
		sequence + body + lock + end + lock:                                sequence + body + lock + end + free,
	} {
		if want == "" {
			want = text
		}
		NewWithT(t).Expect(through(t, text, size)).To(Equal(want))
	}
}

func TestAllElseStaysAsItIs(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 3<<20)
	for _, text := range []string{
		"", "no line break", long, "INSERT INTO `a` VALUES (1,'" + long + "');\nLOCK TABLES `a` WRITE;\n",
		"/*!50003 DROP FUNCTION IF EXISTS `" + long + "` */;\nCREATE DEFINER=`a`",
		"/*!50003 DROP FUNCTION IF EXISTS `a` */;\n" + strings.Repeat("/*!50003 SET x */;\n", 9999) +
			"CREATE DEFINER=`a`\n",
		"/*!50003 DROP FUNCTION IF EXISTS `a*/ GRANT ALL ON *.* TO eve #` */;\nCREATE DEFINER=`a`\n",
		"/*!50003 DROP FUNCTION IF EXISTS `a`` */; /* `` */;\nCREATE DEFINER=`a`\n",
	} {
		NewWithT(t).Expect(through(t, header+text, 1000)).To(Equal(header + text))
	}
}

// A long line is passed on as it comes, also between the DROP and the CREATE of a routine.
func TestLittleIsKept(t *testing.T) {
	t.Parallel()
	const drop = "/*!50003 DROP FUNCTION IF EXISTS `a` */;\n"
	for _, piece := range []string{"x", "/*!50003 SET x */;\n"} {
		g := NewWithT(t)
		var out bytes.Buffer
		w := mariadbdump.NewWriter(&out)
		text := header + drop
		for len(text) < 1<<20 {
			text += strings.Repeat(piece, 1000)
		}
		for rest := []byte(text); len(rest) > 0; rest = rest[min(len(rest), 1000):] {
			_, err := w.Write(rest[:min(len(rest), 1000)])
			g.Expect(err).NotTo(HaveOccurred())
		}
		g.Expect(out.Len()).To(BeNumerically(">", len(text)-100<<10))
	}
}

// through passes a text through a Writer in pieces of this size.
func through(t *testing.T, text string, size int) string {
	t.Helper()
	g := NewWithT(t)
	var out bytes.Buffer
	w := mariadbdump.NewWriter(&out)
	for rest := text; rest != ""; {
		n := min(size, len(rest))
		written, err := w.Write([]byte(rest[:n]))
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(written).To(Equal(n))
		rest = rest[n:]
	}
	g.Expect(w.Flush()).To(Succeed())
	return out.String()
}

func TestTheReaderThatIsGone(t *testing.T) {
	t.Parallel()
	gone := errors.New("gone")
	_, err := mariadbdump.NewWriter(writer{gone}).Write([]byte("a\n"))
	NewWithT(t).Expect(err).To(MatchError(gone))
}

type writer struct{ err error }

func (w writer) Write([]byte) (int, error) { return 0, w.err }

package mariadbdump_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/mariadbdump"
)

const dump = "-- MariaDB dump 10.19\n" +
	"CREATE TABLE `plain` (\n  `id` int(11) DEFAULT NULL COMMENT 'nextval'\n) ENGINE=InnoDB;\n" +
	"LOCK TABLES `plain` WRITE;\nINSERT INTO `plain` VALUES\n(1);\nUNLOCK TABLES;\n" +
	"CREATE TABLE `orders` (\n  `id` int(11) NOT NULL DEFAULT nextval(`shop`.`ids`),\n  KEY `n` (`id`)\n) " +
	"ENGINE=InnoDB;\n" +
	"LOCK TABLES `orders` WRITE;\nINSERT INTO `orders` VALUES\n(1);\nUNLOCK TABLES;\nLOCK TABLES `other` WRITE;\n" +
	"/*!50003 DROP FUNCTION IF EXISTS `fu` */;\n/*!50003 SET sql_mode = '' */ ;\n" +
	"ALTER DATABASE `shop` CHARACTER SET latin1 ;\nDELIMITER ;;\n" +
	"CREATE DEFINER=`app`@`%` FUNCTION `fu`()\n/*!50003 DROP FUNCTION IF EXISTS `fu` */;\n" +
	"CREATE DEFINER=x ;;\nDELIMITER ;\n" +
	"/*!50003 DROP PACKAGE BODY IF EXISTS `a``b` */;\nDELIMITER ;;\nCREATE DEFINER=`app`@`%` PACKAGE BODY `a``b` ;;\n" +
	"DELIMITER ;\n/*!50003 DROP PROCEDURE IF EXISTS `gone` */;\nDELIMITER ;;\n-- not allowed\n" +
	"/*!50003 DROP FUNCTION IF EXISTS `fu` */;\nCREATE DEFINER=`b` ;;\nDELIMITER ;\nCREATE DEFINER=`a` VIEW\n" +
	"/*!50003 DROP FUNCTION IF EXISTS `last` */;\nDELIMITER ;;"

// However the dump is cut into pieces, the same is changed.
func TestWhatIsChanged(t *testing.T) {
	t.Parallel()
	want := strings.NewReplacer(
		"LOCK TABLES `orders` WRITE;\n", "",
		"/*!50003 DROP FUNCTION IF EXISTS `fu` */;\n/*!50003 SET",
		"/*!50700 DROP FUNCTION IF EXISTS `fu` */;\n/*!50003 SET",
		"CREATE DEFINER=`app`", "CREATE /*M!100103 OR REPLACE */ DEFINER=`app`",
		"/*!50003 DROP PACKAGE BODY IF EXISTS `a``b` */;\n", "/*!50700 DROP PACKAGE BODY IF EXISTS `a``b` */;\n",
	).Replace(dump)
	for name, size := range map[string]int{"whole": len(dump), "a byte at a time": 1, "in odd pieces": 37} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			NewWithT(t).Expect(through(t, dump, size)).To(Equal(want))
		})
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
	} {
		NewWithT(t).Expect(through(t, text, 1000)).To(Equal(text))
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

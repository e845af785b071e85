package main

import "fmt"

// Ledger is what was promised of one partition that has one writer, which never repeats itself:
// record n lies at offset n, and readers see each once, in order.
type Ledger struct {
	acked int64 // records below it are acknowledged
	seen  int64 // records below it were read
	wrong []string
}

func (l *Ledger) fail(format string, arguments ...any) {
	if len(l.wrong) < 10 {
		l.wrong = append(l.wrong, fmt.Sprintf(format, arguments...))
	}
}

// Ack: the broker promised the next record at this offset.
func (l *Ledger) Ack(seq, offset int64) {
	if seq != l.acked {
		l.fail("record %d acknowledged after %d", seq, l.acked-1)
	}
	if seq != offset {
		l.fail("record %d acknowledged at offset %d", seq, offset)
	}
	l.acked = seq + 1
}

// Saw: the live reader was given this record.
func (l *Ledger) Saw(seq, offset int64) {
	if offset != l.seen {
		l.fail("read offset %d after %d", offset, l.seen-1)
	}
	if seq != offset {
		l.fail("record %d read at offset %d", seq, offset)
	}
	l.seen = offset + 1
}

// Whole: a second reader was given these records, from the first offset to the end, when nobody wrote.
func (l *Ledger) Whole(seqs []int64) {
	for offset, seq := range seqs {
		if seq != int64(offset) {
			l.fail("record %d found at offset %d in the end", seq, offset)
		}
	}
	found := int64(len(seqs))
	if found < l.acked {
		l.fail("%d records acknowledged, %d found in the end", l.acked, found)
	}
	if found < l.seen {
		l.fail("%d records read, %d found in the end", l.seen, found)
	}
}

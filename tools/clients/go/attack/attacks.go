package main

import (
	"slices"
	"strings"
)

// attack is a row of the table: what is sent, and what is wanted. The common limits hold unless it has its own.
type attack struct {
	row   string
	name  string
	shots []shot
	// siege, if there is one, carries the attack out, and counts reactions by the names of the shots.
	siege func(*Field)
	// limit changes the common limits for this attack.
	limit func(*Limits)
	// skipped says why there is nothing to attack yet.
	skipped string
}

// shot is what is sent on a connection of its own, and the reactions that are right, between bars:
// closed, answered, silent, held, or an error code's name.
type shot struct {
	name  string
	wants string
	send  func(topic string) []byte
}

// attacks is the whole table, in the order in which it is run.
func attacks() []attack {
	return slices.Concat(frameAttacks(), fieldAttacks(), batchAttacks(), bombAttacks(), requestAttacks(), crowdAttacks(),
		groupAttacks(), adminAttacks(), twinAttacks())
}

// sent is a shot of fixed bytes.
func sent(name, wants string, bytes []byte) shot {
	return shot{name, wants, func(string) []byte { return bytes }}
}

func repeat(bytes []byte, count int) []byte { return slices.Repeat(bytes, count) }

// only the shots whose name contains some text.
func (a attack) only(text string) (chosen []shot) {
	for _, shot := range a.shots {
		if strings.Contains(shot.name, text) {
			chosen = append(chosen, shot)
		}
	}
	return chosen
}

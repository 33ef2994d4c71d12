/* The hash table by which `Counts` and `Totals` find their entries. What an entry is, and when two keys are equal, each
 * of them says in a loop of its own.
 *
 *     slots     hash, number of the entry + 1 (0: empty)      open addressing, linear probing
 *     entries   key, how often it came                        in the order in which keys came
 */

#ifndef MAPREDUCE_TABLE_H
#define MAPREDUCE_TABLE_H

#include "loops.h"

/* that are kept of a hash */
#define HASH_BITS 32

typedef struct {
    uint32_t hash;
    uint32_t entry;
} Slot;

/* Where entries are, by their hashes. */
typedef struct {
    Slot *slots;
    size_t size;
    int shift; /* from a hash to its first slot */
} Table;

/* Where a key with this hash is, or has to go, if no other one is there. */
static inline size_t
first_slot(const Table *table, uint32_t hash)
{
    return hash >> table->shift;
}

static inline size_t
next_slot(const Table *table, size_t slot)
{
    return (slot + 1) & (table->size - 1);
}

/* Twice as many slots; returns the entries, of that size, with room for half as many. NULL if it cannot be had: then
 * all is as it was. */
void *grow(Table *table, void *entries, size_t entry_size);

#endif

/* The loops of loops.py, which says what they do, in C.
 *
 * A map task counts hundreds of thousands of different keys, more than the processor's caches hold. A dict then has the
 * processor wait for memory three times for nearly every key: for its index, its entry, and the key that stands there.
 * So `Counts` is a hash table that looks up a batch of keys together, and first has the memory fetched that it will
 * read for all of them (Chen, Ailamaki, Gibbons, Mowry: Improving Hash Join Performance through Prefetching, ICDE 2004).
 *
 *     slots     hash, number of the entry + 1 (0: empty)      open addressing, linear probing
 *     entries   key, how often it came                        in the order in which keys came
 *
 * All its keys are of one type, str, bytes or int itself: to hash and to compare them calls no code of anybody's, so
 * nothing changes a table while it is at work. `Totals` adds up counts of lines that are no objects; what sorts by the
 * first bytes of keys, writes lines and tells partitions stands behind these two.
 *
 * Only the limited API of CPython 3.9, so that one build serves all versions from there on.
 */

#define Py_LIMITED_API 0x03090000
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

#if defined(__GNUC__) || defined(__clang__)
#define FETCH(address) __builtin_prefetch(address)
#define UNLIKELY(condition) __builtin_expect(condition, 0)
#else
#define FETCH(address) ((void)(address))
#define UNLIKELY(condition) (condition)
#endif

/* Have the memory of a str or bytes fetched. */
static void
fetch_text(PyObject *text)
{
    FETCH(text);
    FETCH((const char *)text + 48); /* where that of a short str begins */
}

/* one more with each change of what the rest of the package may expect; loops.py has the same */
#define EDITION 5

/* keys that are looked up together; with 8 or 64 it was slower */
#define BATCH 32
/* how far ahead of its use an item of a list is fetched */
#define AHEAD 16
/* a power of two; at most half of the slots are taken */
#define FIRST_SLOTS 64
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

typedef struct {
    PyObject *key;
    uint64_t times;
} Entry;

typedef struct {
    PyObject_HEAD
    Table table;
    Entry *entries; /* room for half as many as there are slots */
    size_t used;
} Counts;

/* ------------------------------------------------------------------ counts */

/* Numbers that follow each other, multiples of one, and what else is regular, are spread over all slots (Appleby,
 * MurmurHash3: the end of its 64 bits). */
static uint32_t
spread(Py_hash_t hash)
{
    uint64_t mixed = (uint64_t)hash;
    mixed = (mixed ^ mixed >> 33) * UINT64_C(0xFF51AFD7ED558CCD);
    mixed = (mixed ^ mixed >> 33) * UINT64_C(0xC4CEB9FE1A85EC53);
    return (uint32_t)(mixed >> (64 - HASH_BITS));
}

/* For the tests. */
static PyObject *
spread_of(PyObject *Py_UNUSED(module), PyObject *key)
{
    Py_hash_t hash = PyObject_Hash(key);
    return hash == -1 ? NULL : PyLong_FromUnsignedLong(spread(hash));
}

/* Where a key with this hash is, or has to go, if no other one is there. */
static size_t
first_slot(const Table *table, uint32_t hash)
{
    return hash >> table->shift;
}

static size_t
next_slot(const Table *table, size_t slot)
{
    return (slot + 1) & (table->size - 1);
}

/* Twice as many slots; returns the entries, of that size, with room for half as many. NULL if it cannot be had: then all
 * is as it was. */
static void *
grow(Table *table, void *entries, size_t entry_size)
{
    size_t size = table->size ? 2 * table->size : FIRST_SLOTS;
    int shift = table->size ? table->shift - 1 : HASH_BITS - 6;
    if (shift < 1) {
        PyErr_SetString(PyExc_OverflowError, "too many keys to be counted");
        return NULL;
    }
    Table larger = {PyMem_Calloc(size, sizeof(Slot)), size, shift};
    void *more = larger.slots != NULL ? PyMem_Realloc(entries, size / 2 * entry_size) : NULL;
    if (more == NULL) {
        PyMem_Free(larger.slots);
        return PyErr_NoMemory();
    }
    for (size_t i = 0; i < table->size; i++) {
        Slot slot = table->slots[i];
        if (slot.entry) {
            size_t at = first_slot(&larger, slot.hash);
            while (larger.slots[at].entry)
                at = next_slot(&larger, at);
            larger.slots[at] = slot;
        }
    }
    PyMem_Free(table->slots);
    *table = larger;
    return more;
}

/* The key has come once more. */
static int
count_one(Counts *self, PyObject *key, uint32_t hash)
{
    Table *table = &self->table;
    if (self->used == table->size / 2) {
        Entry *entries = grow(table, self->entries, sizeof(Entry));
        if (entries == NULL)
            return -1;
        self->entries = entries;
    }
    size_t at = first_slot(table, hash);
    for (; table->slots[at].entry; at = next_slot(table, at)) {
        if (table->slots[at].hash != hash)
            continue;
        Entry *entry = &self->entries[table->slots[at].entry - 1];
        int same = entry->key == key ? 1 : PyObject_RichCompareBool(entry->key, key, Py_EQ);
        if (same < 0)
            return -1;
        if (same) {
            entry->times++;
            return 0;
        }
    }
    Entry *entry = &self->entries[self->used++];
    Py_INCREF(key);
    entry->key = key;
    entry->times = 1;
    table->slots[at] = (Slot){hash, (uint32_t)self->used};
    return 0;
}

typedef struct {
    PyObject *keys[BATCH];
    uint32_t hashes[BATCH];
    int length;
} Batch;

/* Count the keys of a batch, and empty it, also where that fails. */
static int
count_batch(Counts *self, Batch *batch)
{
    const Table *table = &self->table;
    for (int i = 0; i < batch->length && table->size; i++) {
        const Slot *slot = &table->slots[first_slot(table, batch->hashes[i])];
        if (slot->entry)
            FETCH(&self->entries[slot->entry - 1]);
    }
    for (int i = 0; i < batch->length && table->size; i++) {
        const Slot *slot = &table->slots[first_slot(table, batch->hashes[i])];
        if (slot->entry && slot->hash == batch->hashes[i])
            fetch_text(self->entries[slot->entry - 1].key);
    }
    int status = 0;
    for (int i = 0; i < batch->length; i++) {
        if (status == 0)
            status = count_one(self, batch->keys[i], batch->hashes[i]);
        Py_DECREF(batch->keys[i]);
    }
    batch->length = 0;
    return status;
}

/* 1 if the pair is (key of that type, value like that), 0 if not, -1 if that cannot be found out. */
static int
is_alike(PyObject *pair, PyObject *value, PyObject *kind)
{
    if (!PyTuple_CheckExact(pair) || PyTuple_Size(pair) != 2 ||
        (PyObject *)Py_TYPE(PyTuple_GetItem(pair, 0)) != kind)
        return 0;
    PyObject *its = PyTuple_GetItem(pair, 1);
    if (its == value)
        return 1;
    return Py_TYPE(its) == Py_TYPE(value) ? PyObject_RichCompareBool(its, value, Py_EQ) : 0;
}

/* [pair, *pairs] */
static PyObject *
all_left(PyObject *pair, PyObject *pairs)
{
    PyObject *left = PyList_New(0);
    if (left != NULL && (PyList_Append(left, pair) < 0 || PyList_SetSlice(left, 1, 1, pairs) < 0))
        Py_CLEAR(left);
    return left;
}

static PyObject *
Counts_count(PyObject *object, PyObject *args)
{
    Counts *self = (Counts *)object;
    PyObject *pairs, *value, *kind;
    if (!PyArg_ParseTuple(args, "OOO:count", &pairs, &value, &kind))
        return NULL;
    if (kind != (PyObject *)&PyUnicode_Type && kind != (PyObject *)&PyBytes_Type && kind != (PyObject *)&PyLong_Type) {
        PyErr_SetString(PyExc_TypeError, "only keys that are str, bytes or int are counted here");
        return NULL;
    }
    if (!PyIter_Check(pairs)) {
        PyErr_SetString(PyExc_TypeError, "pairs are to come from an iterator");
        return NULL;
    }
    PyObject *left = NULL, *pair;
    Batch batch = {.length = 0};
    int any = 0, fits = 1;
    while (fits > 0 && (pair = PyIter_Next(pairs)) != NULL) {
        any = 1;
        fits = is_alike(pair, value, kind);
        if (fits > 0) {
            PyObject *key = PyTuple_GetItem(pair, 0);
            Py_hash_t hash = PyObject_Hash(key);
            Py_INCREF(key);
            batch.keys[batch.length] = key;
            batch.hashes[batch.length] = spread(hash);
            if (self->table.size)
                FETCH(&self->table.slots[first_slot(&self->table, batch.hashes[batch.length])]);
            if (++batch.length == BATCH && count_batch(self, &batch) < 0)
                fits = -1;
        } else if (fits == 0)
            left = all_left(pair, pairs);
        /* at once: the next one is made in the same memory, which is in the first cache */
        Py_DECREF(pair);
    }
    if (PyErr_Occurred()) {
        while (batch.length > 0)
            Py_DECREF(batch.keys[--batch.length]);
        Py_XDECREF(left);
        return NULL;
    }
    if (count_batch(self, &batch) < 0) {
        Py_XDECREF(left);
        return NULL;
    }
    if (!any)
        Py_RETURN_NONE;
    return left != NULL ? left : PyList_New(0);
}

static PyObject *
Counts_keys(PyObject *object, PyObject *args)
{
    Counts *self = (Counts *)object;
    Py_ssize_t start;
    if (!PyArg_ParseTuple(args, "n:keys", &start))
        return NULL;
    if (start < 0 || (size_t)start > self->used)
        start = (Py_ssize_t)self->used;
    PyObject *keys = PyList_New((Py_ssize_t)self->used - start);
    if (keys == NULL)
        return NULL;
    for (size_t i = (size_t)start; i < self->used; i++) {
        Py_INCREF(self->entries[i].key);
        PyList_SetItem(keys, (Py_ssize_t)i - start, self->entries[i].key);
    }
    return keys;
}

static void
clear(Counts *self)
{
    for (size_t i = 0; i < self->used; i++)
        Py_XDECREF(self->entries[i].key);
    PyMem_Free(self->table.slots);
    PyMem_Free(self->entries);
    self->table = (Table){NULL, 0, 0};
    self->entries = NULL;
    self->used = 0;
}

static int
set_times(PyObject *counts, const Entry *entry)
{
    PyObject *times = PyLong_FromUnsignedLongLong(entry->times);
    if (times == NULL)
        return -1;
    int status = PyDict_SetItem(counts, entry->key, times);
    Py_DECREF(times);
    return status;
}

static PyObject *
Counts_drain(PyObject *object, PyObject *args)
{
    Counts *self = (Counts *)object;
    unsigned char most;
    if (!PyArg_ParseTuple(args, "b:drain", &most))
        return NULL;
    Py_ssize_t few = 0;
    for (size_t i = 0; i < self->used; i++)
        few += self->entries[i].times <= most;
    PyObject *keys = PyList_New(few), *times = PyBytes_FromStringAndSize(NULL, few), *many = PyDict_New();
    if (keys == NULL || times == NULL || many == NULL)
        goto failed;
    char *next = PyBytes_AsString(times);
    few = 0;
    for (size_t i = 0; i < self->used; i++) {
        Entry *entry = &self->entries[i];
        if (entry->times <= most) {
            next[few] = (char)entry->times;
            PyList_SetItem(keys, few++, entry->key); /* which is the list's now */
            entry->key = NULL;
        } else if (set_times(many, entry) < 0)
            goto failed;
    }
    clear(self);
    return Py_BuildValue("NNN", keys, times, many);
failed:
    clear(self);
    Py_XDECREF(keys);
    Py_XDECREF(times);
    Py_XDECREF(many);
    return NULL;
}

static Py_ssize_t
Counts_length(PyObject *self)
{
    return (Py_ssize_t)((Counts *)self)->used;
}

static void
Counts_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    clear((Counts *)self);
    PyObject_Free(self);
    Py_DECREF(type);
}

static PyMethodDef Counts_methods[] = {
    {"count", Counts_count, METH_VARARGS, NULL},
    {"keys", Counts_keys, METH_VARARGS, NULL},
    {"drain", Counts_drain, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot Counts_slots[] = {
    {Py_tp_methods, Counts_methods},
    {Py_tp_dealloc, Counts_dealloc},
    {Py_sq_length, Counts_length},
    {0, NULL},
};

static PyType_Spec Counts_spec = {
    .name = "mapreduce._loops.Counts",
    .basicsize = sizeof(Counts),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = Counts_slots,
};

/* ------------------------------------------------------------------ totals */

static int
is_column(PyObject *column)
{
    int are = PyBytes_Check(column) || PyList_Check(column);
    if (!are)
        PyErr_SetString(PyExc_TypeError, "a column is to be bytes or a list");
    return are;
}

/* The number at that place of bytes or of a list: a new reference. */
static PyObject *
number_at(PyObject *numbers, Py_ssize_t i)
{
    if (PyBytes_Check(numbers))
        return PyLong_FromLong((unsigned char)PyBytes_AsString(numbers)[i]);
    PyObject *number = PyList_GetItem(numbers, i);
    Py_XINCREF(number);
    return number;
}

static int
add_one(PyObject *totals, PyObject *key, PyObject *number)
{
    PyObject *known = PyDict_GetItemWithError(totals, key);
    if (known == NULL)
        return PyErr_Occurred() ? -1 : PyDict_SetItem(totals, key, number);
    PyObject *sum = PyNumber_Add(known, number);
    if (sum == NULL)
        return -1;
    int status = PyDict_SetItem(totals, key, sum);
    Py_DECREF(sum);
    return status;
}

static PyObject *
add(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *totals, *keys, *numbers;
    if (!PyArg_ParseTuple(args, "O!O!O:add", &PyDict_Type, &totals, &PyList_Type, &keys, &numbers))
        return NULL;
    if (!is_column(numbers))
        return NULL;
    Py_ssize_t length = PyList_Size(keys);
    if (PyObject_Size(numbers) != length) {
        PyErr_SetString(PyExc_ValueError, "there is to be a number for each key");
        return NULL;
    }
    for (Py_ssize_t i = 0; i < length; i++) {
        PyObject *key = PyList_GetItem(keys, i), *number = number_at(numbers, i);
        int status = -1;
        if (key != NULL && number != NULL) {
            Py_INCREF(key); /* a key's own __eq__ might change the list */
            status = add_one(totals, key, number);
            Py_DECREF(key);
        }
        Py_XDECREF(number);
        if (status < 0)
            return NULL;
    }
    Py_RETURN_NONE;
}

/* ------------------------------------------------------------------ texts */

/* The UTF-8 of a str, of lone surrogates as well. */
static PyObject *
utf8(PyObject *key)
{
    if (key == NULL) /* the list has become shorter meanwhile */
        return NULL;
    PyObject *data = PyUnicode_AsUTF8String(key);
    if (data == NULL && PyErr_ExceptionMatches(PyExc_UnicodeEncodeError)) {
        PyErr_Clear();
        data = PyUnicode_AsEncodedString(key, "utf-8", "surrogatepass");
    }
    return data;
}

/* And back. */
static PyObject *
str_of_utf8(const char *bytes, size_t length)
{
    return PyUnicode_DecodeUTF8(bytes, (Py_ssize_t)length, "surrogatepass");
}

/* Bytes, to which more can be appended. */
typedef struct {
    char *bytes;
    size_t length, room;
} Buffer;

static int
append_bytes(Buffer *buffer, const char *bytes, size_t length)
{
    if (length >= buffer->room - buffer->length) { /* there are bytes then, even if nothing is appended */
        size_t room = 2 * buffer->room + length + 1;
        char *more = PyMem_Realloc(buffer->bytes, room);
        if (more == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        buffer->bytes = more;
        buffer->room = room;
    }
    memcpy(buffer->bytes + buffer->length, bytes, length);
    buffer->length += length;
    return 0;
}

/* ------------------------------------------------------------------ totals of texts */

/* A text, and the sum of its numbers. There is no object for it until somebody asks: a reduce task reads each word from
 * many map tasks. */
typedef struct {
    size_t start, length; /* of its UTF-8 */
    uint64_t total;
} Total;

typedef struct {
    PyObject_HEAD
    Table table;
    Total *totals; /* room for half as many as there are slots */
    size_t used;
    Buffer utf8; /* of all of them */
} Totals;

/* Appleby, MurmurHash2 for 64 bits. */
static uint32_t
hash_bytes(const char *bytes, size_t length)
{
    const uint64_t factor = UINT64_C(0xC6A4A7935BD1E995);
    uint64_t hash = length * factor;
    while (length > 0) {
        uint64_t part = 0;
        size_t some = length < sizeof part ? length : sizeof part;
        memcpy(&part, bytes, some);
        part *= factor;
        part = (part ^ part >> 47) * factor;
        hash = (hash ^ part) * factor;
        bytes += some;
        length -= some;
    }
    hash = (hash ^ hash >> 47) * factor;
    return (uint32_t)(hash >> (64 - HASH_BITS));
}

/* The slot of a text: empty if it is not there. */
static Slot *
slot_of(const Totals *self, const char *bytes, size_t length, uint32_t hash)
{
    const Table *table = &self->table;
    size_t at = first_slot(table, hash);
    for (; table->slots[at].entry; at = next_slot(table, at)) {
        const Total *total = &self->totals[table->slots[at].entry - 1];
        if (table->slots[at].hash == hash && total->length == length &&
            memcmp(self->utf8.bytes + total->start, bytes, length) == 0)
            break;
    }
    return &table->slots[at];
}

static int
add_to_total(Totals *self, const char *bytes, size_t length, unsigned char number)
{
    if (self->used == self->table.size / 2) {
        Total *totals = grow(&self->table, self->totals, sizeof(Total));
        if (totals == NULL)
            return -1;
        self->totals = totals;
    }
    uint32_t hash = hash_bytes(bytes, length);
    Slot *slot = slot_of(self, bytes, length, hash);
    if (slot->entry) {
        self->totals[slot->entry - 1].total += number;
        return 0;
    }
    size_t start = self->utf8.length;
    if (append_bytes(&self->utf8, bytes, length) < 0)
        return -1;
    self->totals[self->used++] = (Total){start, length, number};
    *slot = (Slot){hash, (uint32_t)self->used};
    return 0;
}

/* -1 and ValueError if there are not as many lines as numbers. */
static int
add_lines(Totals *self, const char *text, size_t length, const unsigned char *numbers, Py_ssize_t count)
{
    const char *end = text + length;
    for (Py_ssize_t i = 0; i < count; i++) {
        const char *feed = text != NULL ? memchr(text, '\n', (size_t)(end - text)) : NULL;
        const char *line_end = feed != NULL ? feed : end;
        if (text == NULL || (i == count - 1 && feed != NULL)) {
            PyErr_SetString(PyExc_ValueError, "there is to be a number for each line");
            return -1;
        }
        if (add_to_total(self, text, (size_t)(line_end - text), numbers[i]) < 0)
            return -1;
        text = feed != NULL ? feed + 1 : NULL;
    }
    if (text != NULL) {
        PyErr_SetString(PyExc_ValueError, "there is to be a number for each line");
        return -1;
    }
    return 0;
}

/* What stands for the key, if it is a str, in UTF-8; NULL without an exception if it is none. */
static PyObject *
utf8_at(PyObject *keys, Py_ssize_t i)
{
    PyObject *key = PyList_GetItem(keys, i);
    return key != NULL && PyUnicode_CheckExact(key) ? utf8(key) : NULL;
}

static PyObject *
Totals_add(PyObject *object, PyObject *args)
{
    Totals *self = (Totals *)object;
    PyObject *keys;
    const char *numbers;
    Py_ssize_t count;
    if (!PyArg_ParseTuple(args, "Oy#:add", &keys, &numbers, &count))
        return NULL;
    if (PyUnicode_Check(keys)) {
        PyObject *data = utf8(keys);
        if (data == NULL)
            return NULL;
        int status = add_lines(self, PyBytes_AsString(data), (size_t)PyBytes_Size(data), (const unsigned char *)numbers, count);
        Py_DECREF(data);
        if (status < 0)
            return NULL;
        Py_RETURN_NONE;
    }
    if (!PyList_Check(keys) || PyList_Size(keys) != count) {
        PyErr_SetString(PyExc_ValueError, "there is to be a list of keys, with a number for each");
        return NULL;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *data = utf8_at(keys, i);
        int status = -1;
        if (data != NULL)
            status = add_to_total(self, PyBytes_AsString(data), (size_t)PyBytes_Size(data), (unsigned char)numbers[i]);
        else if (!PyErr_Occurred())
            PyErr_SetString(PyExc_TypeError, "only keys that are str are added up here");
        Py_XDECREF(data);
        if (status < 0)
            return NULL;
    }
    Py_RETURN_NONE;
}

/* The total of a key, which is 0 then. */
static uint64_t
take_total(Totals *self, PyObject *data)
{
    if (data == NULL || self->table.size == 0)
        return 0;
    const char *bytes = PyBytes_AsString(data);
    size_t length = (size_t)PyBytes_Size(data);
    const Slot *slot = slot_of(self, bytes, length, hash_bytes(bytes, length));
    if (!slot->entry)
        return 0;
    Total *total = &self->totals[slot->entry - 1];
    uint64_t taken = total->total;
    total->total = 0;
    return taken;
}

static PyObject *
Totals_take(PyObject *object, PyObject *keys)
{
    Totals *self = (Totals *)object;
    if (!PyList_Check(keys)) {
        PyErr_SetString(PyExc_TypeError, "keys are to be a list");
        return NULL;
    }
    Py_ssize_t length = PyList_Size(keys);
    PyObject *taken = PyList_New(length);
    for (Py_ssize_t i = 0; taken != NULL && i < length; i++) {
        PyObject *data = utf8_at(keys, i);
        PyObject *total = PyErr_Occurred() ? NULL : PyLong_FromUnsignedLongLong(take_total(self, data));
        Py_XDECREF(data);
        if (total == NULL || PyList_SetItem(taken, i, total) < 0)
            Py_CLEAR(taken);
    }
    return taken;
}

static void
clear_totals(Totals *self)
{
    PyMem_Free(self->table.slots);
    PyMem_Free(self->totals);
    PyMem_Free(self->utf8.bytes);
    self->table = (Table){NULL, 0, 0};
    self->totals = NULL;
    self->used = 0;
    self->utf8 = (Buffer){NULL, 0, 0};
}

static PyObject *
Totals_drain(PyObject *object, PyObject *Py_UNUSED(none))
{
    Totals *self = (Totals *)object;
    Py_ssize_t count = 0;
    for (size_t i = 0; i < self->used; i++)
        count += self->totals[i].total > 0;
    PyObject *keys = PyList_New(count), *numbers = PyList_New(count), *result = NULL;
    if (keys == NULL || numbers == NULL)
        goto end;
    count = 0;
    for (size_t i = 0; i < self->used; i++) {
        const Total *total = &self->totals[i];
        if (total->total == 0)
            continue;
        PyObject *key = str_of_utf8(self->utf8.bytes + total->start, total->length);
        PyObject *number = key != NULL ? PyLong_FromUnsignedLongLong(total->total) : NULL;
        if (number == NULL) {
            Py_XDECREF(key);
            goto end;
        }
        PyList_SetItem(keys, count, key);
        PyList_SetItem(numbers, count++, number);
    }
    result = PyTuple_Pack(2, keys, numbers);
end:
    clear_totals(self);
    Py_XDECREF(keys);
    Py_XDECREF(numbers);
    return result;
}

static void
Totals_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    clear_totals((Totals *)self);
    PyObject_Free(self);
    Py_DECREF(type);
}

static PyMethodDef Totals_methods[] = {
    {"add", Totals_add, METH_VARARGS, NULL},
    {"take", Totals_take, METH_O, NULL},
    {"drain", Totals_drain, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot Totals_slots[] = {
    {Py_tp_methods, Totals_methods},
    {Py_tp_dealloc, Totals_dealloc},
    {0, NULL},
};

static PyType_Spec Totals_spec = {
    .name = "mapreduce._loops.Totals",
    .basicsize = sizeof(Totals),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = Totals_slots,
};

/* ------------------------------------------------------------------ partitions */

static uint32_t crc_table[256];

/* Of the reflected polynomial of CRC-32 (Williams, A Painless Guide to CRC Error Detection Algorithms, 1993). */
static void
fill_crc_table(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t crc = i;
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 1 ? crc >> 1 ^ UINT32_C(0xEDB88320) : crc >> 1;
        crc_table[i] = crc;
    }
}

/* Up to here a byte at a time is faster than a call of zlib. */
#define SHORT_BYTES 48

typedef struct {
    PyObject *zlib_crc32;
} State;

/* CRC-32 of bytes; -1 if zlib fails. */
static int64_t
crc32(State *state, PyObject *data)
{
    Py_ssize_t length = PyBytes_Size(data);
    if (length > SHORT_BYTES) {
        PyObject *number = PyObject_CallFunctionObjArgs(state->zlib_crc32, data, NULL);
        int64_t crc = number != NULL ? PyLong_AsLongLong(number) : -1;
        Py_XDECREF(number);
        return crc;
    }
    const unsigned char *bytes = (const unsigned char *)PyBytes_AsString(data);
    uint32_t crc = UINT32_MAX;
    for (Py_ssize_t i = 0; i < length; i++)
        crc = crc_table[(crc ^ bytes[i]) & 255] ^ crc >> 8;
    return (uint32_t)~crc;
}

/* CRC-32 of the UTF-8 of a str, and this itself; -1 if there was an error. */
static int64_t
crc32_of(State *state, PyObject *key, PyObject **data)
{
    *data = utf8(key);
    return *data != NULL ? crc32(state, *data) : -1;
}

static PyObject *
crc32_modulo(PyObject *module, PyObject *args)
{
    PyObject *keys;
    Py_ssize_t n;
    if (!PyArg_ParseTuple(args, "O!n:crc32_modulo", &PyList_Type, &keys, &n))
        return NULL;
    if (n < 1) {
        PyErr_SetString(PyExc_ValueError, "modulo what is not positive");
        return NULL;
    }
    State *state = PyModule_GetState(module);
    Py_ssize_t length = PyList_Size(keys);
    PyObject *numbers = PyList_New(length);
    for (Py_ssize_t i = 0; numbers != NULL && i < length; i++) {
        PyObject *data, *number = NULL;
        int64_t crc = crc32_of(state, PyList_GetItem(keys, i), &data);
        Py_XDECREF(data);
        if (crc >= 0)
            number = PyLong_FromLongLong(crc % n);
        if (number == NULL || PyList_SetItem(numbers, i, number) < 0)
            Py_CLEAR(numbers);
    }
    return numbers;
}

static int
append_byte(PyObject *array, unsigned char byte)
{
    Py_ssize_t length = PyByteArray_Size(array);
    if (PyByteArray_Resize(array, length + 1) < 0)
        return -1;
    PyByteArray_AsString(array)[length] = (char)byte;
    return 0;
}

/* Key and value number i go to that part. */
static int
append(PyObject *part, PyObject *keys, PyObject *values, Py_ssize_t i)
{
    if (part == NULL)
        return -1; /* there is none of that number */
    PyObject *its_keys = NULL, *its_values = NULL;
    if (PyTuple_Check(part) && PyTuple_Size(part) == 2) {
        its_keys = PyTuple_GetItem(part, 0);
        its_values = PyTuple_GetItem(part, 1);
    }
    int bytes = PyBytes_Check(values);
    if (its_keys == NULL || !PyList_Check(its_keys) ||
        !(bytes ? PyByteArray_Check(its_values) : PyList_Check(its_values))) {
        PyErr_SetString(PyExc_TypeError, "a part is to be a list and, as the values are a list or bytes, a list or a bytearray");
        return -1;
    }
    if (PyList_Append(its_keys, PyList_GetItem(keys, i)) < 0)
        return -1;
    if (bytes)
        return append_byte(its_values, (unsigned char)PyBytes_AsString(values)[i]);
    return PyList_Append(its_values, PyList_GetItem(values, i));
}

static PyObject *
distribute(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *parts, *numbers, *keys, *values;
    if (!PyArg_ParseTuple(args, "O!O!O!O:distribute", &PyList_Type, &parts, &PyList_Type, &numbers, &PyList_Type,
                          &keys, &values))
        return NULL;
    if (!is_column(values))
        return NULL;
    Py_ssize_t length = PyList_Size(keys);
    if (PyList_Size(numbers) != length || PyObject_Size(values) != length) {
        PyErr_SetString(PyExc_ValueError, "there is to be a number and a value for each key");
        return NULL;
    }
    for (Py_ssize_t i = 0; i < length; i++) {
        Py_ssize_t number = PyLong_AsSsize_t(PyList_GetItem(numbers, i));
        if (number == -1 && PyErr_Occurred())
            return NULL;
        if (append(PyList_GetItem(parts, number), keys, values, i) < 0)
            return NULL;
    }
    Py_RETURN_NONE;
}

/* ------------------------------------------------------------------ lines */

/* Keys, a line each, and how often each of them came, a byte each. */
typedef struct {
    Buffer text, counts;
} Lines;

/* More characters than that are not copied. */
#define MOST_LINES (1 << 24)

/* Append a key to the lines of its part. 0 if it cannot be a line, -1 if there was an error. */
static int
append_line(State *state, Lines *lines, Py_ssize_t n, PyObject *key, const char *count)
{
    PyObject *data;
    int64_t crc = crc32_of(state, key, &data);
    int status = -1;
    if (crc >= 0) {
        const char *text = PyBytes_AsString(data);
        size_t length = (size_t)PyBytes_Size(data);
        Lines *its = &lines[crc % n];
        if (memchr(text, '\n', length) != NULL)
            status = 0;
        else if ((its->counts.length == 0 || append_bytes(&its->text, "\n", 1) == 0) &&
                 append_bytes(&its->text, text, length) == 0 && append_bytes(&its->counts, count, 1) == 0)
            status = 1;
    }
    Py_XDECREF(data);
    return status;
}

/* 1 if all keys have become lines, 0 if one cannot, -1 if there was an error. */
static int
append_lines(State *state, Lines *lines, Py_ssize_t n, PyObject *keys, const char *counts, Py_ssize_t length)
{
    Py_ssize_t characters = 0;
    int status = 1;
    for (Py_ssize_t i = 0; i < length && status == 1; i++) {
        /* zlib lets other threads run, so that there might be fewer keys now */
        if (i + AHEAD < PyList_Size(keys))
            fetch_text(PyList_GetItem(keys, i + AHEAD));
        PyObject *key = PyList_GetItem(keys, i);
        if (key == NULL)
            return -1;
        if (!PyUnicode_CheckExact(key) || (characters += PyUnicode_GetLength(key)) > MOST_LINES)
            return 0;
        Py_INCREF(key);
        status = append_line(state, lines, n, key, &counts[i]);
        Py_DECREF(key);
    }
    return status;
}

static PyObject *
text_and_counts(const Lines *lines)
{
    const Buffer *text = &lines->text, *counts = &lines->counts;
    if (counts->length == 0)
        return Py_BuildValue("(sy)", "", "");
    PyObject *decoded = str_of_utf8(text->bytes, text->length);
    return decoded == NULL ? NULL : Py_BuildValue("(Ny#)", decoded, counts->bytes, (Py_ssize_t)counts->length);
}

static PyObject *
list_of_lines(const Lines *lines, Py_ssize_t n)
{
    PyObject *list = PyList_New(n);
    for (Py_ssize_t i = 0; list != NULL && i < n; i++) {
        PyObject *pair = text_and_counts(&lines[i]);
        if (pair == NULL || PyList_SetItem(list, i, pair) < 0)
            Py_CLEAR(list);
    }
    return list;
}

static PyObject *
lines_by_crc32(PyObject *module, PyObject *args)
{
    PyObject *keys;
    const char *counts;
    Py_ssize_t length, n;
    if (!PyArg_ParseTuple(args, "O!y#n:lines_by_crc32", &PyList_Type, &keys, &counts, &length, &n))
        return NULL;
    if (n < 1 || PyList_Size(keys) != length) {
        PyErr_SetString(PyExc_ValueError, "there are to be parts, and a count for each key");
        return NULL;
    }
    Lines *lines = PyMem_Calloc((size_t)n, sizeof(Lines));
    if (lines == NULL)
        return PyErr_NoMemory();
    PyObject *result = NULL;
    int status = append_lines(PyModule_GetState(module), lines, n, keys, counts, length);
    if (status > 0)
        result = list_of_lines(lines, n);
    else if (status == 0) {
        Py_INCREF(Py_None);
        result = Py_None;
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        PyMem_Free(lines[i].text.bytes);
        PyMem_Free(lines[i].counts.bytes);
    }
    PyMem_Free(lines);
    return result;
}

/* ------------------------------------------------------------------ output */

/* The characters that the text format escapes, and the letters behind the backslashes that stand for them. */
#define ESCAPED "\t\n\r\\"
#define LETTERS "tnr\\"

static int
append_escaped(Buffer *line, const char *text, size_t length)
{
    int escapes = 0;
    for (const char *each = ESCAPED; *each; each++)
        escapes |= memchr(text, *each, length) != NULL;
    if (!escapes)
        return append_bytes(line, text, length);
    for (size_t i = 0; i < length; i++) {
        const char *found = text[i] ? strchr(ESCAPED, text[i]) : NULL;
        char pair[2] = {'\\', found != NULL ? LETTERS[found - ESCAPED] : 0};
        if ((found != NULL ? append_bytes(line, pair, 2) : append_bytes(line, text + i, 1)) < 0)
            return -1;
    }
    return 0;
}

#define MOST_DIGITS 20

static int
append_number(Buffer *line, long long number)
{
    char digits[MOST_DIGITS], *first = digits + MOST_DIGITS;
    unsigned long long rest = number < 0 ? -(unsigned long long)number : (unsigned long long)number;
    do
        *--first = (char)('0' + rest % 10);
    while (rest /= 10);
    if (number < 0)
        *--first = '-';
    return append_bytes(line, first, (size_t)(digits + MOST_DIGITS - first));
}

/* 1 if it stands there, 0 if this is not the place to write it, -1 if there was an error. */
static int
append_item(Buffer *line, PyObject *item)
{
    int status = -1, overflow = 0;
    if (item != NULL && PyUnicode_CheckExact(item)) {
        PyObject *data = PyUnicode_AsUTF8String(item);
        if (data != NULL)
            status = append_escaped(line, PyBytes_AsString(data), (size_t)PyBytes_Size(data)) < 0 ? -1 : 1;
        else if (PyErr_ExceptionMatches(PyExc_UnicodeEncodeError)) {
            PyErr_Clear();
            status = 0;
        }
        Py_XDECREF(data);
        return status;
    }
    if (item == NULL || !PyLong_CheckExact(item))
        return item == NULL ? -1 : 0;
    long long number = PyLong_AsLongLongAndOverflow(item, &overflow);
    if (overflow)
        return 0;
    return append_number(line, number) < 0 ? -1 : 1;
}

static PyObject *
text_lines(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *keys, *values, *result = NULL;
    if (!PyArg_ParseTuple(args, "O!O!:text_lines", &PyList_Type, &keys, &PyList_Type, &values))
        return NULL;
    Py_ssize_t length = PyList_Size(keys);
    if (PyList_Size(values) != length) {
        PyErr_SetString(PyExc_ValueError, "there is to be a value for each key");
        return NULL;
    }
    Buffer lines = {NULL, 0, 0};
    int status = 1;
    for (Py_ssize_t i = 0; i < length && status > 0; i++) {
        status = append_item(&lines, PyList_GetItem(keys, i));
        if (status > 0 && append_bytes(&lines, "\t", 1) < 0)
            status = -1;
        if (status > 0)
            status = append_item(&lines, PyList_GetItem(values, i));
        if (status > 0 && append_bytes(&lines, "\n", 1) < 0)
            status = -1;
    }
    if (status > 0)
        result = PyBytes_FromStringAndSize(lines.bytes, (Py_ssize_t)lines.length);
    else if (status == 0) {
        Py_INCREF(Py_None);
        result = Py_None;
    }
    PyMem_Free(lines.bytes);
    return result;
}

/* ------------------------------------------------------------------ order */

/* What the order of a key hangs on, as far as there is room for it, and where the key stands: to compare two keys seldom
 * means to look at them, wherever they lie (Nyberg, Barclay, Cvetanovic, Gray, Lomet: AlphaSort, SIGMOD 1994). */
typedef struct {
    uint64_t head; /* the first eight bytes, or a number */
    uint32_t rest; /* three more, and how many there are in all, or LONGER */
    uint32_t position;
} Rank;

#define HEAD_BYTES 8
#define RANK_BYTES 11
#define LONGER (RANK_BYTES + 1)
/* of a character in UTF-8 */
#define MOST_BYTES 4

/* Many keys that are alike so far are ranked by what comes next in them, so often; then they are compared. */
#define MOST_ROUNDS 8
/* Up to so many are compared at once; and runs that are shorter are made this long. */
#define FEW_RANKS 16

typedef struct {
    PyObject *keys;
    PyTypeObject *kind; /* of all of them */
    Rank *spare;        /* room for as many ranks as there are */
    size_t *borders;    /* and for those of their runs */
    int compares;       /* whether keys of equal ranks are compared */
} Sort;

/* The UTF-8 of a character, also of a lone surrogate, and how many bytes that is: their order is that of characters. */
static int
put_utf8(unsigned char *at, Py_UCS4 character)
{
    if (character < 0x80) {
        at[0] = (unsigned char)character;
        return 1;
    }
    int more = character < 0x800 ? 1 : character < 0x10000 ? 2 : 3;
    for (int i = more; i > 0; i--, character >>= 6)
        at[i] = (unsigned char)(0x80 | (character & 0x3F));
    at[0] = (unsigned char)(0x780 >> more | character);
    return more + 1;
}

/* By all of a text with no more than RANK_BYTES: where two ranks are equal, and not LONGER, so are the texts. Zeros
 * stand for what a text does not have, so those that differ in zeros at their ends only differ in their length. */
static void
rank_text(Rank *rank, const unsigned char *text, Py_ssize_t length)
{
    unsigned char first[HEAD_BYTES + 4] = {0};
    memcpy(first, text, (size_t)(length < RANK_BYTES ? length : RANK_BYTES));
    first[RANK_BYTES] = (unsigned char)(length < LONGER ? length : LONGER);
    rank->head = 0;
    for (int i = 0; i < HEAD_BYTES; i++)
        rank->head = rank->head << 8 | first[i];
    rank->rest = 0;
    for (int i = HEAD_BYTES; i < HEAD_BYTES + 4; i++)
        rank->rest = rank->rest << 8 | first[i];
}

static void
rank_str(Rank *rank, PyObject *key, Py_ssize_t start)
{
    unsigned char text[RANK_BYTES + MOST_BYTES];
    Py_ssize_t end = PyUnicode_GetLength(key), length = 0;
    for (Py_ssize_t i = start; i < end && length <= RANK_BYTES; i++)
        length += put_utf8(text + length, PyUnicode_ReadChar(key, i));
    rank_text(rank, text, length);
}

#define SIGN (UINT64_C(1) << 63)

/* 0 if the int has more than 64 bits. */
static int
rank_int(Rank *rank, PyObject *key)
{
    int overflow;
    long long number = PyLong_AsLongLongAndOverflow(key, &overflow);
    rank->head = (uint64_t)number ^ SIGN;
    rank->rest = 0;
    return !overflow;
}

/* 0 if it is not a number. The bits of IEEE 754 are in order, but for those of negative numbers, which are in reverse. */
static int
rank_float(Rank *rank, PyObject *key)
{
    double number = PyFloat_AsDouble(key) + 0.0; /* -0.0 is 0.0 then */
    uint64_t bits;
    memcpy(&bits, &number, sizeof bits);
    rank->head = bits & SIGN ? ~bits : bits | SIGN;
    rank->rest = 0;
    return number == number;
}

static int
rank_one(const Sort *sort, Rank *rank, PyObject *key, Py_ssize_t start)
{
    if (sort->kind == &PyLong_Type)
        return rank_int(rank, key);
    if (sort->kind == &PyFloat_Type)
        return rank_float(rank, key);
    if (sort->kind == &PyUnicode_Type)
        rank_str(rank, key, start);
    else if (sort->kind == &PyBytes_Type)
        rank_text(rank, (const unsigned char *)PyBytes_AsString(key) + start, PyBytes_Size(key) - start);
    else
        return 0;
    return 1;
}

/* Rank keys where they stand, texts from an item on that all of them have; 0 if that cannot be done for one. */
static int
rank_all(const Sort *sort, Rank *ranks, size_t count, Py_ssize_t start)
{
    for (size_t i = 0; i < count; i++) {
        if (i + AHEAD < count)
            fetch_text(PyList_GetItem(sort->keys, ranks[i + AHEAD].position));
        PyObject *key = PyList_GetItem(sort->keys, ranks[i].position);
        if (Py_TYPE(key) != sort->kind || !rank_one(sort, &ranks[i], key, start))
            return 0;
    }
    return 1;
}

/* How many items of a key, from the first on, stand in its rank as a whole. */
static Py_ssize_t
items_ranked(const Sort *sort, Rank rank, Py_ssize_t start)
{
    if (sort->kind != &PyUnicode_Type)
        return RANK_BYTES;
    PyObject *key = PyList_GetItem(sort->keys, rank.position);
    unsigned char text[MOST_BYTES];
    Py_ssize_t items = 0, length = 0;
    while ((length += put_utf8(text, PyUnicode_ReadChar(key, start + items))) <= RANK_BYTES)
        items++;
    return items;
}

/* Whether the first of two keys is less. */
static int
is_key_less(const Sort *sort, const Rank *first, const Rank *second)
{
    PyObject *one = PyList_GetItem(sort->keys, first->position), *other = PyList_GetItem(sort->keys, second->position);
    if (sort->kind == &PyUnicode_Type)
        return PyUnicode_Compare(one, other) < 0;
    Py_ssize_t length = PyBytes_Size(one), others = PyBytes_Size(other);
    int order = memcmp(PyBytes_AsString(one), PyBytes_AsString(other), (size_t)(length < others ? length : others));
    return order < 0 || (order == 0 && length < others);
}

static int
is_rest_less(const Sort *sort, const Rank *first, const Rank *second)
{
    if (first->rest != second->rest)
        return first->rest < second->rest;
    return sort->compares && is_key_less(sort, first, second);
}

static inline int
is_less(const Sort *sort, const Rank *first, const Rank *second)
{
    return UNLIKELY(first->head == second->head) ? is_rest_less(sort, first, second) : first->head < second->head;
}

/* Up to where ranks are in order, or else have been brought into it. */
static size_t
end_of_run(const Sort *sort, Rank *ranks, size_t start, size_t count)
{
    size_t end = start + 1;
    while (end < count && !is_less(sort, &ranks[end], &ranks[end - 1]))
        end++;
    for (; end < count && end - start < FEW_RANKS; end++) {
        Rank rank = ranks[end];
        size_t at = end;
        for (; at > start && is_less(sort, &rank, &ranks[at - 1]); at--)
            ranks[at] = ranks[at - 1];
        ranks[at] = rank;
    }
    return end;
}

static void
merge_runs(const Sort *sort, const Rank *left, const Rank *middle, const Rank *end, Rank *to)
{
    const Rank *right = middle;
    while (left < middle && right < end) {
        /* which one comes nobody can foresee, least of all the processor: no branch hangs on it */
        int takes_right = is_less(sort, right, left);
        *to++ = left[(right - left) * takes_right];
        right += takes_right;
        left += 1 - takes_right;
    }
    memcpy(to, left, (size_t)(middle - left) * sizeof(Rank));
    memcpy(to + (middle - left), right, (size_t)(end - right) * sizeof(Rank));
}

/* Bring ranks into order, stably: find the runs that are there, as `list.sort` does, and merge neighbours until there is
 * one. */
static void
sort_ranks(const Sort *sort, Rank *ranks, size_t count)
{
    Rank *from = ranks, *to = sort->spare;
    size_t *borders = sort->borders, runs = 0;
    for (size_t end = 0; end < count; runs++) {
        borders[runs] = end;
        end = end_of_run(sort, ranks, end, count);
    }
    borders[runs] = count;
    while (runs > 1) {
        size_t merged = 0;
        for (size_t run = 0; run < runs; run += 2) {
            size_t start = borders[run], middle = borders[run + 1], end = run + 1 < runs ? borders[run + 2] : middle;
            merge_runs(sort, from + start, from + middle, from + end, to + start);
            borders[merged++] = start;
        }
        borders[merged] = count;
        runs = merged;
        Rank *sorted = to;
        to = from;
        from = sorted;
    }
    if (from != ranks)
        memcpy(ranks, from, count * sizeof(Rank));
}

static void sort_longer(Sort *sort, Rank *ranks, size_t count, Py_ssize_t start, int round);

/* Bring ranks of keys that are alike so far into order by what comes from `start` on. */
static void
sort_alike(Sort *sort, Rank *ranks, size_t count, Py_ssize_t start, int round)
{
    size_t ordered = 1;
    while (ordered < count && !is_key_less(sort, &ranks[ordered], &ranks[ordered - 1]))
        ordered++;
    if (ordered == count) /* equal keys, above all */
        return;
    if (count > FEW_RANKS && round < MOST_ROUNDS && rank_all(sort, ranks, count, start)) {
        sort_ranks(sort, ranks, count);
        sort_longer(sort, ranks, count, start, round + 1);
        return;
    }
    sort->compares = 1;
    sort_ranks(sort, ranks, count);
    sort->compares = 0;
}

/* Ranks are in order, which were made from `start` on: now those are that are equal, while their keys may be not. */
static void
sort_longer(Sort *sort, Rank *ranks, size_t count, Py_ssize_t start, int round)
{
    for (size_t i = 0, end; i < count; i = end) {
        for (end = i + 1; end < count && ranks[end].head == ranks[i].head && ranks[end].rest == ranks[i].rest;)
            end++;
        if (end - i > 1 && (ranks[i].rest & 255) == LONGER)
            sort_alike(sort, ranks + i, end - i, start + items_ranked(sort, ranks[i], start), round);
    }
}

/* Fill a new list with the items of another in the order of ranks. */
static void
take_in_order(PyObject *to, PyObject *items, const Rank *ranks, Py_ssize_t length)
{
    for (Py_ssize_t i = 0; i < length; i++) {
        if (i + AHEAD < length)
            FETCH(PyList_GetItem(items, ranks[i + AHEAD].position));
        PyObject *item = PyList_GetItem(items, ranks[i].position);
        Py_INCREF(item);
        PyList_SetItem(to, i, item);
    }
}

/* 0 if not all keys can be ranked; -1 if there was an error. */
static int
sort_all(Sort *sort, Rank *ranks, size_t count)
{
    if (ranks == NULL || sort->spare == NULL || sort->borders == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (size_t i = 0; i < count; i++)
        ranks[i].position = (uint32_t)i;
    if (!rank_all(sort, ranks, count, 0))
        return 0;
    sort_ranks(sort, ranks, count);
    sort_longer(sort, ranks, count, 0, 1);
    return PyErr_Occurred() ? -1 : 1;
}

static PyObject *
sorted_by_rank(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *keys, *values;
    if (!PyArg_ParseTuple(args, "O!O!:sorted_by_rank", &PyList_Type, &keys, &PyList_Type, &values))
        return NULL;
    Py_ssize_t length = PyList_Size(keys);
    if (length == 0 || (uint64_t)length > UINT32_MAX)
        Py_RETURN_NONE;
    PyObject *result = NULL, *sorted_keys = PyList_New(length), *sorted_values = PyList_New(length);
    Rank *ranks = PyMem_New(Rank, length);
    Sort sort = {.keys = keys, .spare = PyMem_New(Rank, length), .borders = PyMem_New(size_t, length / FEW_RANKS + 2)};
    if (sorted_keys == NULL || sorted_values == NULL)
        goto end;
    /* looked at as late as this: to make a list may run the garbage collector, and so anybody's code */
    if (PyList_Size(keys) != length || PyList_Size(values) != length) {
        PyErr_SetString(PyExc_ValueError, "there is to be a value for each key");
        goto end;
    }
    sort.kind = Py_TYPE(PyList_GetItem(keys, 0));
    int status = sort_all(&sort, ranks, (size_t)length);
    if (status < 0)
        goto end;
    if (status == 0) {
        Py_INCREF(Py_None);
        result = Py_None;
        goto end;
    }
    take_in_order(sorted_keys, keys, ranks, length);
    take_in_order(sorted_values, values, ranks, length);
    result = PyTuple_Pack(2, sorted_keys, sorted_values);
end:
    PyMem_Free(sort.spare);
    PyMem_Free(sort.borders);
    PyMem_Free(ranks);
    Py_XDECREF(sorted_keys);
    Py_XDECREF(sorted_values);
    return result;
}

/* ------------------------------------------------------------------ the module */

static int
add_type(PyObject *module, const char *name, PyType_Spec *spec)
{
    PyObject *type = PyType_FromSpec(spec);
    if (type == NULL)
        return -1;
    if (PyModule_AddObject(module, name, type) < 0) {
        Py_DECREF(type);
        return -1;
    }
    return 0;
}

static int
execute(PyObject *module)
{
    fill_crc_table();
    State *state = PyModule_GetState(module);
    PyObject *zlib = PyImport_ImportModule("zlib");
    if (zlib == NULL)
        return -1;
    state->zlib_crc32 = PyObject_GetAttrString(zlib, "crc32");
    Py_DECREF(zlib);
    if (state->zlib_crc32 == NULL)
        return -1;
    if (PyModule_AddIntConstant(module, "EDITION", EDITION) < 0)
        return -1;
    return add_type(module, "Counts", &Counts_spec) < 0 ? -1 : add_type(module, "Totals", &Totals_spec);
}

static int
traverse(PyObject *module, visitproc visit, void *arg)
{
    State *state = PyModule_GetState(module);
    if (state != NULL)
        Py_VISIT(state->zlib_crc32);
    return 0;
}

static int
clear_state(PyObject *module)
{
    State *state = PyModule_GetState(module);
    if (state != NULL)
        Py_CLEAR(state->zlib_crc32);
    return 0;
}

static void
free_state(void *module)
{
    clear_state(module);
}

static PyMethodDef functions[] = {
    {"add", add, METH_VARARGS, NULL},
    {"crc32_modulo", crc32_modulo, METH_VARARGS, NULL},
    {"distribute", distribute, METH_VARARGS, NULL},
    {"lines_by_crc32", lines_by_crc32, METH_VARARGS, NULL},
    {"sorted_by_rank", sorted_by_rank, METH_VARARGS, NULL},
    {"text_lines", text_lines, METH_VARARGS, NULL},
    {"spread", spread_of, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, execute},
    {0, NULL},
};

static PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_loops",
    .m_size = sizeof(State),
    .m_methods = functions,
    .m_slots = module_slots,
    .m_traverse = traverse,
    .m_clear = clear_state,
    .m_free = free_state,
};

PyMODINIT_FUNC
PyInit__loops(void)
{
    return PyModuleDef_Init(&definition);
}

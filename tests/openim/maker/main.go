// Makes records of an OpenIM deployment's push topic with OpenIM's own protocol package, and tells
// beside each what it meant.
//
//	go run . -records 2000 -seed 2
//
// One JSON object a line, in the order of the topic: {"key", "value"} is a record (value in Base64),
// {"meant": ...} is what happened at this place, {"before": ...} what was there before the first
// record. The world that is played: people write, read, revoke; groups are made, joined, left and
// dismissed, with and without a stored copy of the notice.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand"
	"os"
	"sort"

	"github.com/openimsdk/protocol/constant"
	"github.com/openimsdk/protocol/msg"
	"github.com/openimsdk/protocol/sdkws"
	"google.golang.org/protobuf/proto"
)

const startMs = 1_700_000_000_000

type line map[string]any

type world struct {
	random  *rand.Rand
	out     *json.Encoder
	left    int
	nowMs   int64
	number  int
	seqs    map[string]int64
	users   []string
	groups  []*group
	systems []string
}

type group struct {
	id      string
	members []string
}

// act is one thing that happens: the message that the servers hand on, and what it means. `to` are
// the sides of a chat that is no group's.
type act struct {
	data   *sdkws.MsgData
	to     []string
	reads  line
	change *change
}

type change struct {
	group    *group
	joined   []string
	left     []string
	how      string
	founding bool
}

func main() {
	records := flag.Int("records", 2000, "how many records to make, at least")
	seed := flag.Int64("seed", 2, "draws the world")
	people := flag.Int("users", 60, "how many users there are")
	flag.Parse()
	buffer := bufio.NewWriterSize(os.Stdout, 1<<20)
	defer buffer.Flush()
	w := &world{
		random: rand.New(rand.NewSource(*seed)),
		out:    json.NewEncoder(buffer),
		left:   *records,
		nowMs:  startMs,
		seqs:   map[string]int64{},
	}
	for n := 0; n < *people; n++ {
		// An underscore is what OpenIM joins ids with: nobody may take an id apart.
		w.users = append(w.users, fmt.Sprintf("u%d_%d", n, n%7))
	}
	w.systems = []string{"system_1", "system2"}
	w.oldGroups()
	for w.left > 0 {
		w.step()
	}
}

// oldGroups are from before the tap: their members are known from elsewhere.
func (w *world) oldGroups() {
	for n := 0; n < 4; n++ {
		g := &group{id: fmt.Sprintf("old_%d", n), members: w.some(8 + n*13)}
		w.groups = append(w.groups, g)
		w.tell(line{"before": "joined", "group": g.id, "who": g.members, "at": w.nowMs, "seq": 0})
	}
}

func (w *world) step() {
	w.nowMs += 1 + w.random.Int63n(400)
	switch draw := w.random.Intn(1000); {
	case draw < 400:
		w.chat()
	case draw < 800:
		w.room()
	case draw < 880:
		w.readsRoom()
	case draw < 910:
		w.system()
	case draw < 950:
		w.ownNotices()
	case draw < 975:
		w.found()
	case draw < 994:
		w.friends()
	default:
		w.left--
		w.tell(line{"key": "broken", "value": []byte("\xff\xff not a record"), "broken": true})
	}
}

// chat is a batch of two people: they write, type, read, revoke.
func (w *world) chat() {
	ends := w.some(2)
	if w.random.Intn(40) == 0 {
		ends[1] = ends[0] // who writes to himself
	}
	var batch []*act
	for n := 1 + w.random.Intn(4); n > 0; n-- {
		from, to := ends[n%2], ends[1-n%2]
		switch draw := w.random.Intn(20); {
		case draw < 13:
			batch = append(batch, w.text(from, to, ""))
		case draw == 13:
			typing := w.text(from, to, "")
			typing.data.ContentType = constant.Typing
			typing.data.Options = map[string]bool{constant.IsHistory: false, constant.IsUnreadCount: false}
			batch = append(batch, typing)
		case draw == 14:
			// A type that OpenIM does not define, stored as any other.
			odd := w.text(from, to, "")
			odd.data.ContentType = 7777
			odd.data.Options = map[string]bool{constant.IsUnreadCount: false}
			batch = append(batch, odd)
		case draw == 15:
			tips := &sdkws.RevokeMsgTips{RevokerUserID: from, ConversationID: chatID(from, to), Seq: 1}
			batch = append(batch, w.notice(from, to, "", constant.MsgRevokeNotification, stored(), tips))
		default:
			batch = append(batch, w.readsChat(from, to))
		}
	}
	w.transfer(pairKey(ends[0], ends[1]), batch)
}

func (w *world) readsChat(who, peer string) *act {
	conversation := chatID(who, peer)
	upto := w.seqs[conversation]
	tips := &sdkws.MarkAsReadTips{MarkAsReadUserID: who, ConversationID: conversation, HasReadSeq: upto}
	if upto > 2 && w.random.Intn(3) == 0 {
		// By single messages: the greatest of them counts.
		tips.HasReadSeq, tips.Seqs = 1, []int64{upto - 1, upto - 2}
		upto--
	}
	read := w.notice(who, peer, "", constant.HasReadReceipt, stored(), tips)
	read.reads = line{"meant": "read", "who": who, "conversation": conversation, "upto": upto}
	return read
}

// room is a batch of a group; what changes its members comes last in it.
func (w *world) room() {
	g := w.groups[w.random.Intn(len(w.groups))]
	if len(g.members) == 0 {
		return
	}
	var batch []*act
	for n := 1 + w.random.Intn(4); n > 0; n-- {
		from := g.members[w.random.Intn(len(g.members))]
		switch draw := w.random.Intn(20); {
		case draw < 17:
			batch = append(batch, w.text(from, "", g.id))
		case draw == 17:
			tips := &sdkws.RevokeMsgTips{RevokerUserID: from, ConversationID: roomID(g.id), Seq: 1}
			batch = append(batch, w.notice(from, "", g.id, constant.MsgRevokeNotification, stored(), tips))
		case draw == 18:
			tips := &sdkws.GroupMutedTips{Group: info(g), OpUser: member(g, from)}
			batch = append(batch, w.notice(from, "", g.id, constant.GroupMutedNotification, copied(false), tips))
		default:
			typing := w.text(from, "", g.id)
			typing.data.Options = map[string]bool{constant.IsHistory: false}
			batch = append(batch, typing)
		}
	}
	if w.random.Intn(4) == 0 {
		batch = append(batch, w.changes(g))
	}
	w.transfer(g.id, batch)
}

// changes of who belongs to a group. One in three has no stored copy of its notice.
func (w *world) changes(g *group) *act {
	options := copied(w.random.Intn(3) > 0)
	operator := g.members[0]
	switch draw := w.random.Intn(20); {
	case draw < 7:
		guests := w.strangers(g, 1+w.random.Intn(5))
		tips := &sdkws.MemberInvitedTips{Group: info(g), OpUser: member(g, operator), InviterUser: member(g, operator)}
		for _, user := range guests {
			tips.InvitedUserList = append(tips.InvitedUserList, member(g, user))
		}
		return w.changed(operator, g, constant.MemberInvitedNotification, options, tips, &change{group: g, joined: guests})
	case draw < 10:
		guests := w.strangers(g, 1)
		if len(guests) == 0 {
			return w.text(operator, "", g.id)
		}
		tips := &sdkws.MemberEnterTips{Group: info(g), EntrantUser: member(g, guests[0]), OperationTime: w.nowMs}
		return w.changed(guests[0], g, constant.MemberEnterNotification, options, tips, &change{group: g, joined: guests})
	case draw < 14 && len(g.members) > 1:
		who := g.members[len(g.members)-1]
		tips := &sdkws.MemberQuitTips{Group: info(g), QuitUser: member(g, who)}
		return w.changed(who, g, constant.MemberQuitNotification, options, tips, &change{group: g, left: []string{who}, how: "quit"})
	case draw < 18 && len(g.members) > 3:
		who := append([]string{}, g.members[1:3]...)
		tips := &sdkws.MemberKickedTips{Group: info(g), OpUser: member(g, operator)}
		for _, user := range who {
			tips.KickedUserList = append(tips.KickedUserList, member(g, user))
		}
		return w.changed(operator, g, constant.MemberKickedNotification, options, tips, &change{group: g, left: who, how: "kick"})
	case draw >= 18 && w.random.Intn(8) == 0:
		tips := &sdkws.GroupDismissedTips{Group: info(g), OpUser: member(g, operator)}
		who := append([]string{}, g.members...)
		return w.changed(operator, g, constant.GroupDismissedNotification, options, tips, &change{group: g, left: who, how: "dismiss"})
	}
	return w.text(operator, "", g.id)
}

// found makes a group, as OpenIM tells of it: who makes it and owns it is named, and nobody else.
func (w *world) found() {
	w.number++
	owner := w.some(1)[0]
	g := &group{id: fmt.Sprintf("g_%d", w.number)}
	w.groups = append(w.groups, g)
	tips := &sdkws.GroupCreatedTips{
		Group: info(g), OpUser: member(g, owner), GroupOwnerUser: member(g, owner),
		MemberList: []*sdkws.GroupMemberFullInfo{member(g, owner)}, OperationTime: w.nowMs,
	}
	w.transfer(g.id, []*act{w.changed(owner, g, constant.GroupCreatedNotification, copied(w.random.Intn(4) > 0), tips,
		&change{group: g, joined: []string{owner}, founding: true})})
}

// readsRoom: OpenIM tells it to the reader alone, and stores nothing.
func (w *world) readsRoom() {
	g := w.groups[w.random.Intn(len(w.groups))]
	if len(g.members) == 0 || w.seqs[roomID(g.id)] == 0 {
		return
	}
	who, conversation := g.members[w.random.Intn(len(g.members))], roomID(g.id)
	upto := 1 + w.random.Int63n(w.seqs[conversation])
	tips := &sdkws.MarkAsReadTips{MarkAsReadUserID: who, ConversationID: conversation, HasReadSeq: upto}
	read := w.notice(who, who, "", constant.HasReadReceipt, copied(false), tips)
	read.reads = line{"meant": "read", "who": who, "conversation": conversation, "upto": upto}
	w.transfer(pairKey(who, who), []*act{read})
}

// system: a system account announces something to one user, who alone has the conversation.
func (w *world) system() {
	from, to := w.systems[w.random.Intn(len(w.systems))], w.some(1)[0]
	said := w.text(from, to, "")
	said.data.SessionType, said.data.ContentType = constant.NotificationChatType, constant.OANotification
	said.to = []string{to}
	w.transfer(pairKey(from, to), []*act{said})
}

// ownNotices go to one user: settings, states, messages that he deleted everywhere.
func (w *world) ownNotices() {
	who := w.some(1)[0]
	switch w.random.Intn(4) {
	case 0:
		tips := &sdkws.ConversationUpdateTips{UserID: who, ConversationIDList: []string{"si_a_b"}}
		w.transfer(pairKey(who, who), []*act{w.notice(who, who, "", constant.ConversationChangeNotification, copied(false), tips)})
	case 1:
		tips := &sdkws.DeleteMsgsTips{UserID: who, ConversationID: "si_a_b", Seqs: []int64{1, 2}}
		w.transfer(pairKey(who, who), []*act{w.notice(who, who, "", constant.DeleteMsgsNotification, stored(), tips)})
	case 2:
		tips := &sdkws.UserStatusChangeTips{FromUserID: who, ToUserID: who, Status: 1}
		w.transfer(pairKey(who, who), []*act{w.notice(who, who, "", constant.UserStatusChangeNotification, copied(false), tips)})
	default:
		tips := &sdkws.NotificationElem{Detail: "{}"}
		w.transfer(pairKey(who, who), []*act{w.notice(who, who, "", constant.BusinessNotification, stored(), tips)})
	}
}

// friends: an application that was agreed to is stored as the first message of the chat.
func (w *world) friends() {
	ends := w.some(2)
	tips := &sdkws.FriendApplicationApprovedTips{FromToUserID: &sdkws.FromToUserID{FromUserID: ends[1], ToUserID: ends[0]}}
	w.transfer(pairKey(ends[0], ends[1]), []*act{w.notice(ends[0], ends[1], "", constant.FriendApplicationApprovedNotification, copied(true), tips)})
}

// transfer hands a batch of one key on to the topic in the order in which OpenIM does: first what is
// said in the chat, not stored and stored, then the notices likewise. Sequences are given here.
func (w *world) transfer(key string, batch []*act) {
	var passing, chat, notices, storedNotices []func()
	for _, a := range batch {
		a := a
		if is(a.data.Options, constant.IsNotNotification) {
			if is(a.data.Options, constant.IsHistory) {
				chat = append(chat, func() { w.put(key, messageID(a.data), a, a.data, true, false) })
			} else {
				passing = append(passing, func() { w.put(key, messageID(a.data), a, a.data, false, false) })
			}
			continue
		}
		hasCopy := is(a.data.Options, constant.IsSendMsg)
		if hasCopy {
			said := proto.Clone(a.data).(*sdkws.MsgData)
			said.Options = map[string]bool{constant.IsOfflinePush: false, constant.IsUnreadCount: true}
			chat = append(chat, func() { w.put(key, messageID(a.data), a, said, true, true) })
		}
		if is(a.data.Options, constant.IsHistory) {
			storedNotices = append(storedNotices, func() { w.put(key, noticeID(a.data), a, a.data, true, !hasCopy) })
		} else {
			notices = append(notices, func() { w.put(key, noticeID(a.data), a, a.data, false, !hasCopy) })
		}
	}
	for _, some := range [][]func(){passing, chat, notices, storedNotices} {
		for _, put := range some {
			put()
		}
	}
}

// put writes one record, and what it meant. `changes`: this is the record that tells of members.
func (w *world) put(key, conversation string, a *act, data *sdkws.MsgData, store, changes bool) {
	if store {
		w.seqs[conversation]++
		data.Seq = w.seqs[conversation]
	}
	if changes && a.change != nil {
		w.join(a.change, data)
	}
	if store {
		told := line{"meant": "message", "conversation": conversation, "seq": data.Seq, "from": data.SendID, "at": data.SendTime}
		if data.SessionType != constant.ReadGroupChatType {
			told["to"] = a.to
		}
		w.tell(told)
	}
	if a.reads != nil {
		w.tell(a.reads)
	}
	if changes && a.change != nil {
		w.leave(a.change, data)
	}
	value, err := proto.MarshalOptions{Deterministic: true}.Marshal(&msg.PushMsgDataToMQ{MsgData: data, ConversationID: conversation})
	if err != nil {
		panic(err)
	}
	repeats := 1
	if w.random.Intn(200) == 0 {
		repeats = 2 // a producer that was not sure
	}
	for ; repeats > 0; repeats-- {
		w.tell(line{"key": key, "value": value})
		w.left--
	}
}

func (w *world) join(c *change, data *sdkws.MsgData) {
	if len(c.joined) == 0 {
		return
	}
	c.group.members = append(c.group.members, c.joined...)
	// What was last before it; the stored copy itself is the first that they see.
	seq := w.seqs[roomID(c.group.id)]
	if data.Seq > 0 {
		seq = data.Seq - 1
	}
	w.tell(line{"meant": "joined", "group": c.group.id, "who": c.joined, "at": data.SendTime, "seq": seq, "founding": c.founding})
}

func (w *world) leave(c *change, data *sdkws.MsgData) {
	if len(c.left) == 0 {
		return
	}
	gone := map[string]bool{}
	for _, user := range c.left {
		gone[user] = true
	}
	var stay []string
	for _, user := range c.group.members {
		if !gone[user] {
			stay = append(stay, user)
		}
	}
	c.group.members = stay
	w.tell(line{"meant": "left", "group": c.group.id, "who": c.left, "at": data.SendTime, "seq": w.seqs[roomID(c.group.id)], "how": c.how})
}

// The messages.

func (w *world) message(from, to, groupID string) *sdkws.MsgData {
	w.number++
	w.nowMs++
	session := int32(constant.SingleChatType)
	if groupID != "" {
		session = constant.ReadGroupChatType
	}
	return &sdkws.MsgData{
		SendID: from, RecvID: to, GroupID: groupID, SessionType: session,
		ClientMsgID: fmt.Sprintf("client-%d", w.number), ServerMsgID: fmt.Sprintf("server-%d", w.number),
		SenderPlatformID: 2, SenderNickname: "Nickname of " + from, SenderFaceURL: "face.png",
		CreateTime: w.nowMs - 3, SendTime: w.nowMs, Status: 1, Ex: "{}",
		OfflinePushInfo: &sdkws.OfflinePushInfo{Title: "title", IOSBadgeCount: true},
	}
}

func (w *world) text(from, to, groupID string) *act {
	data := w.message(from, to, groupID)
	data.MsgFrom, data.ContentType = constant.UserMsgType, constant.Text
	data.Content = []byte(fmt.Sprintf(`{"content":"number %d"}`, w.number))
	data.Options = map[string]bool{constant.IsHistory: true, constant.IsUnreadCount: true, constant.IsOfflinePush: true}
	return &act{data: data, to: sides(from, to)}
}

func (w *world) notice(from, to, groupID string, contentType int32, options map[string]bool, tips any) *act {
	data := w.message(from, to, groupID)
	data.MsgFrom, data.ContentType, data.Options = constant.SysMsgType, contentType, options
	if groupID != "" {
		data.RecvID = groupID
	}
	data.Content = asJSON(&sdkws.NotificationElem{Detail: string(asJSON(tips))})
	return &act{data: data, to: sides(from, to)}
}

func (w *world) changed(from string, g *group, contentType int32, options map[string]bool, tips any, c *change) *act {
	a := w.notice(from, "", g.id, contentType, options, tips)
	a.change = c
	return a
}

// What OpenIM sets for notices: `stored` is kept with a sequence of its own, `copied` perhaps as a
// message of the conversation.

func copied(yes bool) map[string]bool {
	return map[string]bool{
		constant.IsNotNotification: false, constant.IsSendMsg: yes, constant.IsHistory: false,
		constant.IsPersistent: false, constant.IsOfflinePush: false, constant.IsUnreadCount: false,
		constant.IsConversationUpdate: false, constant.IsSenderSync: true, constant.IsNotPrivate: false,
		constant.IsSenderConversationUpdate: false, constant.IsReactionFromCache: false,
	}
}

func stored() map[string]bool {
	options := copied(false)
	options[constant.IsHistory], options[constant.IsPersistent] = true, true
	return options
}

func is(options map[string]bool, name string) bool {
	value, there := options[name]
	return !there || value
}

// The names.

func pairKey(a, b string) string {
	ends := []string{a, b}
	sort.Strings(ends)
	return ends[0] + "_" + ends[1]
}

func chatID(a, b string) string { return "si_" + pairKey(a, b) }
func roomID(id string) string   { return "sg_" + id }

func messageID(data *sdkws.MsgData) string {
	switch data.SessionType {
	case constant.ReadGroupChatType:
		return roomID(data.GroupID)
	case constant.NotificationChatType:
		return "sn_" + pairKey(data.SendID, data.RecvID)
	}
	return chatID(data.SendID, data.RecvID)
}

func noticeID(data *sdkws.MsgData) string {
	if data.SessionType == constant.ReadGroupChatType {
		return "n_" + data.GroupID
	}
	return "n_" + pairKey(data.SendID, data.RecvID)
}

// Helpers.

func sides(a, b string) []string {
	if a == b {
		return []string{a}
	}
	return []string{a, b}
}

func info(g *group) *sdkws.GroupInfo {
	return &sdkws.GroupInfo{GroupID: g.id, GroupName: "Group " + g.id, GroupType: 2, MemberCount: uint32(len(g.members))}
}

func member(g *group, user string) *sdkws.GroupMemberFullInfo {
	return &sdkws.GroupMemberFullInfo{GroupID: g.id, UserID: user, RoleLevel: 20, Nickname: "Nickname of " + user}
}

func (w *world) some(count int) []string {
	if count > len(w.users) {
		count = len(w.users)
	}
	var found []string
	for _, index := range w.random.Perm(len(w.users))[:count] {
		found = append(found, w.users[index])
	}
	return found
}

func (w *world) strangers(g *group, count int) []string {
	inside := map[string]bool{}
	for _, user := range g.members {
		inside[user] = true
	}
	found := []string{}
	for _, user := range w.some(count) {
		if !inside[user] {
			found = append(found, user)
		}
	}
	return found
}

func (w *world) tell(l line) {
	if err := w.out.Encode(l); err != nil {
		panic(err)
	}
}

// asJSON writes tips as OpenIM does: Go's encoder on the generated types.
func asJSON(value any) []byte {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return text
}

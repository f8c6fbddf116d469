from django.contrib.auth.models import User
from rest_framework import serializers

from chat.models import Message, Post, Profile, Room

TIME = "%Y-%m-%dT%H:%M:%SZ"


class UserIn(serializers.ModelSerializer):
    class Meta:
        model = User
        fields = ["id", "username", "email", "password"]
        extra_kwargs = {"password": {"write_only": True}}

    def create(self, validated_data):
        user = User.objects.create_user(**validated_data)
        Profile.objects.create(user=user)
        return user


class PostSerializer(serializers.ModelSerializer):
    created_at = serializers.DateTimeField(format=TIME, read_only=True)

    class Meta:
        model = Post
        fields = ["id", "title", "content", "created_at"]


class ProfileSerializer(serializers.ModelSerializer):
    class Meta:
        model = Profile
        fields = ["image", "bio"]


class UserSerializer(serializers.ModelSerializer):
    profile = ProfileSerializer()
    posts = serializers.SerializerMethodField()

    class Meta:
        model = User
        fields = ["id", "username", "email", "profile", "posts"]

    def get_posts(self, user):
        return PostSerializer(user.posts.order_by("-id")[:100][::-1], many=True).data


class RoomSerializer(serializers.ModelSerializer):
    display_name = serializers.SerializerMethodField()

    class Meta:
        model = Room
        fields = ["id", "name", "members", "display_name"]

    def get_display_name(self, room):
        caller = self.context["request"].user
        return next(user.username for user in room.members.all() if user.id != caller.id)


class MessageSerializer(serializers.ModelSerializer):
    user = serializers.CharField(source="user.username", read_only=True)
    timestamp = serializers.DateTimeField(format=TIME, read_only=True)

    class Meta:
        model = Message
        fields = ["id", "user", "content", "timestamp"]
